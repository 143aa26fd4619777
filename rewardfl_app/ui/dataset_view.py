"""The data set as the page shows it: first frames, prompts and sizes of the clips, or one sentence on what is wrong."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from rewardfl_app.config.presets import preset
from rewardfl_app.data.errors import DataError
from rewardfl_app.supervisor.freeze import EMBEDDED_FAMILY, with_embedded_data
from rewardfl_app.ui.media import thumbnail

NUM_SHOWN = 24
# One renderer at a time: the second to come finds the clips of the first.
_RENDERING = threading.Lock()


def describe(family: str, metadata_path: str | None, runs_dir: Path) -> dict[str, Any]:
    """{rows, total, error, path, embedded}; rows are the first clips with picture, prompt, file, frames, size and fps.

    The embedded clips (family `pocket` without a path) are rendered here on first use (seconds).
    """
    embedded = family == EMBEDDED_FAMILY and not metadata_path
    try:
        path = embedded_clips(runs_dir) if embedded else metadata_path
        if not path:
            return _answer([], 0, None, None, embedded)
        rows = _rows(Path(path))
    except (DataError, OSError) as error:
        return _answer([], 0, str(error), metadata_path, embedded)
    return _answer([_row(row) for row in rows[:NUM_SHOWN]], len(rows), None, path, embedded)


def embedded_clips(runs_dir: Path) -> str | None:
    """metadata.csv of the embedded training clips, rendered into the runs folder the first time.

    Raises:
        OSError: they cannot be written.
    """
    with _RENDERING:
        return with_embedded_data(preset(EMBEDDED_FAMILY), runs_dir).data.metadata_path


def _rows(path: Path) -> list[Any]:
    from rewardfl_app.data import manifest  # brings PyAV, see media.first_frame

    return manifest.read(path)


def _answer(
    rows: list[dict[str, Any]], total: int, error: str | None, path: str | None, embedded: bool
) -> dict[str, Any]:
    return {"rows": rows, "total": total, "error": error, "path": path, "embedded": embedded}


def _row(row: Any) -> dict[str, Any]:
    from rewardfl_app.data import video

    picture = thumbnail(row.input_image or row.video, 256)
    shown = {"row": row.index, "file": row.video.name, "prompt": row.prompt, "picture": picture}
    try:
        info = video.probe(row.video)
    except DataError as error:
        return {**shown, "error": str(error)}
    return {
        **shown,
        "error": None,
        "size": f"{info.width} x {info.height}",
        "num_frames": info.num_frames,
        "fps": round(info.fps, 2),
    }
