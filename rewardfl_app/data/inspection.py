"""Every file of a metadata.csv looked at from end to end, row by row: what it is, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rewardfl_app.data import image, manifest, video
from rewardfl_app.data.errors import DataError
from rewardfl_app.data.findings import Finding, Findings, RowReport
from rewardfl_app.data.image import Pixels
from rewardfl_app.data.manifest import Row, RowProblem

_CHUNK = 8


@dataclass
class DataReport:
    """What became of a metadata.csv. `faces`: whether faces were looked for. No problems: it can be trained on."""

    metadata: str
    faces: bool
    rows: list[RowReport] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        """As JSON; problems as {row, field, message} in the order of the rows."""
        problems = sorted(self.problems, key=lambda problem: problem.row)
        return {
            "metadata": self.metadata,
            "faces": self.faces,
            "rows": [asdict(row) for row in sorted(self.rows, key=lambda row: row.row)],
            "problems": [{"row": p.row, "field": p.field, "message": p.message} for p in problems],
        }


# Looks for faces in a row whose files are fine: the row's own first image where there is one, and frames of the clip.
FaceLook = Callable[[RowReport, Pixels | None, Pixels], list[RowProblem]]


def inspect(
    metadata_path: Path,
    look: FaceLook | None = None,
    num_samples: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
    findings: Findings | None = None,
) -> DataReport:
    """Decode every video of the rows to its end and read every image; bad rows are reported, and the others go on.

    `look` gets the report of a row, its input image uint8 [H, W, 3] where there is one, and about `num_samples` frames
    [n, H, W, 3], evenly spaced from the first on; it fills in the faces. `advance(done, total)` is called after every
    row. Rows that `findings` knows are taken from there, and the others are kept in it. Raises DataError when the CSV
    as a whole is at fault.
    """
    rows, problems = manifest.read_usable(metadata_path)
    report = DataReport(str(metadata_path), look is not None, [], list(problems))
    for done, row in enumerate(rows, start=1):
        known = None if findings is None else findings.find(row)
        if known is None:
            known = _inspected(row, look, num_samples)
            if findings is not None:
                findings.keep(row, known.report, known.problems)
        report.rows.append(known.report)
        report.problems += known.problems
        advance(done, len(rows))
    return report


def _inspected(row: Row, look: FaceLook | None, num_samples: int) -> Finding:
    told = RowReport(row.index, str(row.video))
    problems, frames, first = _files(row, told, num_samples)
    if not problems and look is not None and frames is not None:
        problems = look(told, first, frames)
    return Finding(told, problems)


def _files(row: Row, told: RowReport, num_samples: int) -> tuple[list[RowProblem], Pixels | None, Pixels | None]:
    """What is wrong with the files of a row, frames of its video, and its input image where there is one."""
    problems: list[RowProblem] = []
    frames = first = None
    try:
        info = video.probe(row.video)
        told.height, told.width, told.fps = info.height, info.width, info.fps
        told.num_frames, frames = _sampled(row.video, info.num_frames, num_samples)
    except DataError as error:
        problems.append(RowProblem(row.index, str(error), "video"))
    for name in ("input_image", "end_image"):
        path = getattr(row, name)
        if path is None:
            continue
        try:
            pixels = image.read(path)
            first = pixels if name == "input_image" else first
        except DataError as error:
            problems.append(RowProblem(row.index, str(error), name))
    return problems, frames, first


def _sampled(path: Path, num_frames: int, num_samples: int) -> tuple[int, Pixels]:
    """How many frames a video truly has, and some of them: the first, and others evenly spaced."""
    wanted = {round(place) for place in np.linspace(0, max(num_frames - 1, 0), max(num_samples, 1))}
    kept, count = [], 0
    for chunk in video.stream(path, _CHUNK):
        kept += [pixels.copy() for number, pixels in enumerate(chunk, start=count) if number in wanted]
        count += len(chunk)
    return count, np.stack(kept)
