"""metadata.csv: the list of training clips.

UTF-8 (with or without a byte order mark), a header line, the columns `video` and `prompt`, optionally `input_image` and
`end_image`. Paths are relative to the CSV. Rows are counted from 1, without the header.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rewardfl_app.config.paths import located
from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.data import image, video
from rewardfl_app.data.errors import DataError

__all__ = ["DataError", "ManifestError", "Row", "RowProblem", "check_rows", "read", "read_usable", "row_problems"]

_NUM_READERS = 8
_NEEDED = ("video", "prompt")
_COLUMN_NAME = re.compile(r"[A-Za-z_][\w ;\t]{0,39}")
_IMAGES = ("input_image", "end_image")


@dataclass(frozen=True)
class Row:
    """One clip.

    `index` is its row, from 1. Paths are absolute, or relative to the working directory as the CSV's is.
    """

    index: int
    video: Path
    prompt: str
    input_image: Path | None = None
    end_image: Path | None = None


@dataclass(frozen=True)
class RowProblem:
    """What is wrong with one row, as a sentence. `field` is the column it is about, empty when it is the whole row."""

    row: int
    message: str
    field: str = ""


class _ColumnError(DataError):
    """A value of a row that cannot be used; `field` is its column."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class ManifestError(DataError):
    """Rows that cannot be used. `problems` has all of them, the message the first ones."""

    def __init__(self, metadata_path: Path | str, problems: Sequence[RowProblem]) -> None:
        self.problems = list(problems)
        shown = " ".join(f"Row {problem.row}: {problem.message}" for problem in self.problems[:3])
        more = f" And {len(self.problems) - 3} more rows." if len(self.problems) > 3 else ""
        super().__init__(f"{metadata_path}: {shown}{more}")


def read(metadata_path: Path | str, needed_columns: Sequence[str] = ()) -> list[Row]:
    """The rows of a metadata.csv. `needed_columns` are columns that must be there besides video and prompt.

    Raises DataError when the file is missing, not a CSV by its name or in UTF-8, lacks a column (named, with those
    found) or has no rows, and ManifestError when rows name no file, or files that do not exist. Files are not opened:
    see check_rows.
    """
    rows, problems = read_usable(metadata_path, needed_columns)
    if problems:
        raise ManifestError(located(str(metadata_path)), problems)
    return rows


def read_usable(metadata_path: Path | str, needed_columns: Sequence[str] = ()) -> tuple[list[Row], list[RowProblem]]:
    """The rows of a metadata.csv that name files, and what is wrong with the others.

    Raises DataError, as `read` does, when the file as a whole is at fault.
    """
    path = located(str(metadata_path))
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path} is no metadata.csv: the name must end with .csv.")
    try:
        with io.TextIOWrapper(open_plain(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            columns = [column.strip() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            records = list(reader)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: give the path of your metadata.csv.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: save it as UTF-8.") from error
    except (OSError, ValueError, csv.Error) as error:  # ValueError: a name that no file can have
        raise DataError(f"{path} cannot be read as CSV ({error}).") from error
    missing = [column for column in (*_NEEDED, *needed_columns) if column not in columns]
    if missing:
        # Only what may be the name of a column is told: the file may be another one, with a secret in its first line.
        found = ", ".join(column for column in columns if _COLUMN_NAME.fullmatch(column)) or "none"
        raise DataError(f"{path} has no column {' and no column '.join(missing)}; columns found: {found}.")
    if not records:
        raise DataError(f"{path} has no rows below its header.")
    rows, problems = [], []
    for index, record in enumerate(records, start=1):
        try:
            rows.append(_row(path.parent, index, record, needed_columns))
        except _ColumnError as error:
            problems.append(RowProblem(index, str(error), error.field))
        except DataError as error:
            problems.append(RowProblem(index, str(error)))
    return rows, problems


def row_problems(rows: Iterable[Row], num_frames: int | None = None) -> list[RowProblem]:
    """Open the files of each row and say which cannot be read, or are shorter than num_frames.

    Only the first frame of each video is decoded, once for all rows that share it, so ten thousand clips take seconds.
    """
    probe = cache(video.probe)

    def told(row: Row) -> RowProblem | None:
        try:
            info = probe(row.video)
            if num_frames is not None and info.num_frames < num_frames:
                raise DataError(
                    f"{row.video} has {info.num_frames} frames, but data.num_frames is {num_frames}: "
                    "take a longer clip or lower data.num_frames."
                )
            for still in (row.input_image, row.end_image):
                if still is not None:
                    image.read(still)
        except DataError as error:
            return RowProblem(row.index, str(error))
        return None

    with ThreadPoolExecutor(_NUM_READERS) as readers:  # decoding a first frame does not hold Python's lock
        return [problem for problem in readers.map(told, rows) if problem is not None]


def check_rows(rows: Sequence[Row], num_frames: int | None = None, metadata_path: Path | str = "metadata.csv") -> None:
    """Raise ManifestError, naming the rows, when a file cannot be read or a clip is shorter than num_frames."""
    if problems := row_problems(rows, num_frames):
        raise ManifestError(metadata_path, problems)


def _row(folder: Path, index: int, record: dict[str, str | None], needed_columns: Sequence[str]) -> Row:
    if None in record:  # where csv puts values beyond the header's columns
        raise DataError("it has more values than the header has columns; put quotes around a prompt with commas.")
    if record.get("prompt") is None:
        raise DataError("it has fewer values than the header has columns; the prompt is missing.")
    stills = {
        column: _file(folder, record, column) if record.get(column) or column in needed_columns else None
        for column in _IMAGES
    }
    return Row(index, _file(folder, record, "video"), (record["prompt"] or "").strip(), **stills)


def _file(folder: Path, record: dict[str, str | None], column: str) -> Path:
    """The file that a column of the row names. Raises DataError when it names none or the file does not exist."""
    value = (record.get(column) or "").strip()
    if not value:
        raise _ColumnError(column, f"the column {column} is empty.")
    path = folder / value  # an absolute value stays as it is
    if not os.path.isfile(path):  # a pipe is none
        reason = "is a folder" if os.path.isdir(path) else "does not exist"
        raise _ColumnError(column, f"the file {path} of column {column} {reason}.")
    return path
