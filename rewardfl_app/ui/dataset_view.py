"""The data set as the page shows it: its clips page by page, the faces found in them, and what is wrong with them."""

from __future__ import annotations

import threading
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from rewardfl_app.config.paths import located
from rewardfl_app.config.presets import preset
from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.data.errors import DataError
from rewardfl_app.supervisor import data_checks
from rewardfl_app.supervisor.freeze import EMBEDDED_FAMILY, with_embedded_data
from rewardfl_app.ui.media import thumbnail

PAGE_SIZE = 24
PICTURE_SIDE = 256
# The headers of so many clips are read at once (milliseconds each); of larger sets only those of the page, until faces
# were looked for.
PROBED_AT_ONCE = 200
# One renderer at a time: the second to come finds the clips of the first.
_RENDERING = threading.Lock()


def describe(
    metadata_path: str | None,
    runs_dir: Path,
    reward: RewardConfig | None = None,
    page: int = 0,
    only_problems: bool = False,
) -> dict[str, Any]:
    """{path, error, rows, page, num_pages, num_rows, num_shown, num_problems, num_looked, num_left, num_found}.

    `rows` are the clips of one page with picture, prompt, size, length, faces and the sentences on what is wrong;
    `num_shown` counts those that the filter leaves, `num_looked` those in which faces were looked for with this reward
    section's face pack, `num_left` those that can still be looked at. `error` is one sentence when the table as a whole
    cannot be used.

    Args:
        metadata_path: None shows nothing.
        page: counted from 0; one beyond the end is the last.
    """
    if not metadata_path:
        return _answer(None, None)
    path = located(metadata_path)
    try:
        rows, problems = _rows(path)
    except DataError as error:
        return _answer(str(path), str(error))
    findings = _findings(runs_dir, reward)
    found = {row.index: findings.find(row) for row in rows} if findings else {}
    known = {index: finding for index, finding in found.items() if finding is not None}
    wrong = defaultdict(list)
    for problem in [*problems, *(problem for finding in known.values() for problem in finding.problems)]:
        wrong[problem.row].append(_sentence(problem.message))
    if len(rows) <= PROBED_AT_ONCE:
        for row in rows:
            if row.index not in known and (unreadable := _probed(row.video)["problems"]):
                wrong[row.index] += unreadable
    by_index = {row.index: row for row in rows}
    listed = sorted(wrong) if only_problems else sorted({*by_index, *wrong})
    num_pages = max(1, -(-len(listed) // PAGE_SIZE))
    page = min(max(page, 0), num_pages - 1)
    shown = listed[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
    return {
        **_answer(str(path), None),
        "rows": [_row(index, by_index.get(index), known.get(index), wrong.get(index, [])) for index in shown],
        "page": page,
        "num_pages": num_pages,
        "num_rows": len({*by_index, *wrong}),
        "num_shown": len(listed),
        "num_problems": len(wrong),
        "num_looked": len(known),
        "num_left": len(rows) - len(known),
        "num_found": sum(bool(finding.report.boxes) for finding in known.values()),
    }


def embedded_clips(runs_dir: Path) -> str | None:
    """metadata.csv of the embedded training clips, rendered into the runs folder the first time.

    Raises:
        OSError: they cannot be written.
    """
    with _RENDERING:
        return with_embedded_data(preset(EMBEDDED_FAMILY), runs_dir).data.metadata_path


def _rows(path: Path) -> tuple[list[Any], list[Any]]:
    from rewardfl_app.data import manifest  # brings PyAV, see media.first_frame

    return manifest.read_usable(path)


_KNOWN: dict[Path, Any] = {}
_READING = threading.Lock()


def _findings(runs_dir: Path, reward: RewardConfig | None) -> Any | None:
    """What was found with this face pack up to now; None without a face pack."""
    from rewardfl_app.data.findings import Findings

    if reward is None or not reward.reward_model_path:
        return None
    try:
        path = data_checks.findings_path(runs_dir, reward)
    except OSError:
        return None
    with _READING:
        if path not in _KNOWN:
            _KNOWN[path] = Findings(path)
        _KNOWN[path].refresh()
        return _KNOWN[path]


def _answer(path: str | None, error: str | None) -> dict[str, Any]:
    counts = dict.fromkeys(("page", "num_rows", "num_shown", "num_problems", "num_looked", "num_left", "num_found"), 0)
    return {"path": path, "error": error, "rows": [], "num_pages": 1, **counts}


def _row(index: int, row: Any | None, finding: Any | None, problems: list[str]) -> dict[str, Any]:
    """One row of the page; `faces` is None while they were not looked for; boxes are shares of the picture's sides."""
    shown: dict[str, Any] = {"row": index, "file": None, "prompt": "", "picture": None, "faces": None, "size": None}
    shown |= {"num_frames": None, "fps": None, "problems": problems}
    if row is None:
        return shown
    shown |= {
        "file": row.video.name,
        "prompt": row.prompt,
        "picture": thumbnail(row.input_image or row.video, PICTURE_SIDE),
    }
    if finding is None:
        info = _probed(row.video)
        unreadable = [sentence for sentence in info["problems"] if sentence not in problems]
        return {**shown, **info, "problems": [*problems, *unreadable]}
    told = finding.report
    shown |= _shape(told.width, told.height, told.num_frames, told.fps)
    if told.boxes is not None:
        shown["faces"] = {
            "boxes": told.boxes,
            "size": told.face_size,
            "score": told.det_score,
            "people": told.people,
            "num_looked": told.num_looked,
            "num_seen": None if told.face_rate is None else round(told.face_rate * (told.num_looked or 0)),
        }
    return shown


def _sentence(message: str) -> str:
    """A problem that elsewhere follows the number of its row, by itself; a path stays as it is."""
    return message[:1].upper() + message[1:] if message.startswith(("the ", "it ")) else message


def _shape(width: int | None, height: int | None, num_frames: int | None, fps: float | None) -> dict[str, Any]:
    size = f"{width} x {height}" if width and height else None
    return {"size": size, "num_frames": num_frames, "fps": None if fps is None else round(fps, 2)}


def _probed(path: Path) -> dict[str, Any]:
    """Size and length as the file's header tells, or the sentence on why it cannot be read."""
    try:
        return _probe(str(path), path.stat().st_mtime_ns)
    except OSError as error:
        return {"problems": [f"{path} cannot be read ({error.strerror})."]}


@lru_cache(maxsize=4096)
def _probe(path: str, modified_ns: int) -> dict[str, Any]:
    from rewardfl_app.data import video

    try:
        info = video.probe(Path(path))
    except DataError as error:
        return {"problems": [str(error)]}
    return {**_shape(info.width, info.height, info.num_frames, info.fps), "problems": []}
