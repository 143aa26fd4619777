"""What was found in clips that were looked at before, so that a second look at the same files costs nothing.

One file, one JSON object per row that was looked at, appended. A clip is known again by its content: at once while its
path, size and time are the same, else by its digest. What counts as a face depends on the face pack and its settings,
so each of them needs a file of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rewardfl_app.data.manifest import Row, RowProblem
from rewardfl_app.runs import content, jsonlines, typed
from rewardfl_app.runs.change import number
from rewardfl_app.runs.jsonlines import JsonLinesReader


@dataclass
class RowReport:
    """One row: size in pixels and length of its video, None where it cannot be read.

    The faces are None where they were not looked for: `face_size` (root of the box's area in pixels) and `det_score` of
    the largest face in the first frame; `people` who are seen, and `face_rate`, the share with a face, in `num_looked`
    frames. `boxes` are the faces of the picture the video starts from, [x0, y0, x1, y1] each, as shares (0 to 1) of its
    width and height.
    """

    row: int
    video: str
    height: int | None = None
    width: int | None = None
    fps: float | None = None
    num_frames: int | None = None
    face_size: float | None = None
    det_score: float | None = None
    people: int | None = None
    face_rate: float | None = None
    num_looked: int | None = None
    boxes: list[list[float]] | None = None


@dataclass(frozen=True)
class Finding:
    """A row that was looked at: its report, and what is wrong with its files."""

    report: RowReport
    problems: list[RowProblem] = field(default_factory=list)


# Files of a row in the order video, input_image, end_image; [path, size, time] each, null where it has none.
_Stamps = list[list[Any] | None]
_COUNTS = ("height", "width", "num_frames", "people", "num_looked")
_NUMBERS = ("fps", "face_size", "det_score", "face_rate")


class Findings:
    """The findings in one file. Several processes may append to it; `refresh` takes up what others wrote."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._reader = JsonLinesReader(self._path)
        self._by_stamps: dict[str, dict[str, Any]] = {}
        self._by_content: dict[str, dict[str, Any]] = {}
        self._sizes: set[tuple[int | None, ...]] = set()
        self.refresh()

    def refresh(self) -> None:
        """Read what was appended since the last call."""
        for record in self._reader.read_new():
            if _are_stamps(record.get("stamps")) and isinstance(record.get("report"), dict):
                self._know(record)

    def find(self, row: Row) -> Finding | None:
        """What was found in this row's files; None when they were not looked at, or have changed since."""
        stamps = _stamps(row)
        if stamps is None:
            return None
        record = self._by_stamps.get(content.digest(stamps))
        if record is None and _sizes(stamps) in self._sizes:  # only then is it worth reading the files
            key = _content(row)
            record = self._by_content.get(key) if key else None
        return None if record is None else _finding(record, row)

    def keep(self, row: Row, report: RowReport, problems: Sequence[RowProblem]) -> None:
        """Remember what was found, for the next row with these files, too. Raises OSError when the file cannot be
        written."""
        stamps, key = _stamps(row), _content(row)
        if stamps is None or key is None:  # gone while it was looked at
            return
        told = [{"field": problem.field, "message": problem.message} for problem in problems]
        record = {"stamps": stamps, "content": key, "report": asdict(report), "problems": told}
        jsonlines.append(self._path, record)
        self._know(record)

    def _know(self, record: dict[str, Any]) -> None:
        self._by_stamps[content.digest(record["stamps"])] = record
        self._by_content[str(record.get("content"))] = record
        self._sizes.add(_sizes(record["stamps"]))


def _files(row: Row) -> Iterable[Path | None]:
    return row.video, row.input_image, row.end_image


def _stamps(row: Row) -> _Stamps | None:
    """Path, size and time of each file of a row; None when one is missing."""
    try:
        return [None if path is None else _stamp(path) for path in _files(row)]
    except OSError:
        return None


def _stamp(path: Path) -> list[Any]:
    state = os.stat(path)
    return [os.path.abspath(path), state.st_size, state.st_mtime_ns]


def _sizes(stamps: _Stamps) -> tuple[int | None, ...]:
    return tuple(None if stamp is None else stamp[1] for stamp in stamps)


def _are_stamps(value: object) -> bool:
    """Whether it has the form that `_stamps` gives: another program may have written into the file."""
    return isinstance(value, list) and all(
        stamp is None or (isinstance(stamp, list) and len(stamp) == 3 and typed.whole(stamp[1]) is not None)
        for stamp in value
    )


def _content(row: Row) -> str | None:
    try:
        return content.digest([None if path is None else content.file_digest(path) for path in _files(row)])
    except OSError:
        return None


def _finding(record: dict[str, Any], row: Row) -> Finding:
    """The record as a finding of this row, which may lie elsewhere by now."""
    known = record["report"]
    before, now = typed.text(known.get("video")), str(row.video)
    values: dict[str, Any] = {name: typed.whole(known.get(name)) for name in _COUNTS}
    values.update({name: number(known.get(name)) for name in _NUMBERS})
    report = RowReport(row.index, now, **values, boxes=_boxes(known.get("boxes")))
    told = record.get("problems")
    problems = [
        RowProblem(row.index, typed.text(one.get("message")).replace(before or now, now), typed.text(one.get("field")))
        for one in (told if isinstance(told, list) else [])
        if isinstance(one, dict)
    ]
    return Finding(report, problems)


def _boxes(value: object) -> list[list[float]] | None:
    if not isinstance(value, list):
        return None
    found = [[number(side) for side in box] for box in value if isinstance(box, list)]
    whole = [[side for side in box if side is not None] for box in found]
    return [box for box in whole if len(box) == 4]
