"""Files with one JSON object per line: appended by one writer while others read along."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rewardfl_app.config.plain_file import open_plain, open_to_append
from rewardfl_app.runs import durable
from rewardfl_app.runs.jsonfile import plain
from rewardfl_app.runs.jsontext import parse

log = logging.getLogger(__name__)

Record = dict[str, Any]


class JsonLinesWriter:
    """Appends records; each is there for every reader, and on the disk, when `append` returns."""

    def __init__(self, path: Path) -> None:
        """Open for appending. A line torn by an earlier crash is closed, so that it spoils no record of ours."""
        self._file = open_to_append(path)
        if _last_byte(path) not in (b"", b"\n"):
            self._file.write(b"\n")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record as one line, whole or not at all; NaN and infinity become null. Raises OSError."""
        left = memoryview(_line(record).encode())
        start = os.fstat(self._file.fileno()).st_size
        try:
            while left:
                left = left[self._file.write(left) or 0 :]  # a disk that is nearly full takes a part
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file.fileno(), start)
            raise

    def close(self) -> None:
        """Close the file; no more records can be appended."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class JsonLinesReader:
    """Reads what was appended since the last call; starts over when the file was replaced or cut.

    `restarts` counts those new starts: when it grows, what was read before no longer stands in the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._offset = 0
        self._inode: int | None = None
        self._unreadable = ""
        self.restarts = 0

    def read_new(self) -> list[Record]:
        """Records of the lines completed since the last call; [] while there is no file that can be read."""
        try:
            with open_plain(self._path) as file:
                self._unreadable = ""
                return self._read(file.fileno())
        except FileNotFoundError:
            pass
        except OSError as error:
            if str(error) != self._unreadable:  # said once, not at every look
                self._unreadable = str(error)
                log.warning("%s cannot be read: %s", self._path, error.strerror or error)
        if self._offset:
            self._restart()
        return []

    def _read(self, descriptor: int) -> list[Record]:
        state = os.fstat(descriptor)
        if self._offset and (
            state.st_ino != self._inode
            or state.st_size < self._offset
            or os.pread(descriptor, 1, self._offset - 1) != b"\n"
        ):
            self._restart()
        self._inode = state.st_ino
        if state.st_size == self._offset:
            return []
        chunk = os.pread(descriptor, state.st_size - self._offset, self._offset)
        complete = chunk[: chunk.rfind(b"\n") + 1]  # the rest is a line still being written
        self._offset += len(complete)
        return self._parse(complete)

    def _parse(self, text: bytes) -> list[Record]:
        """The records of whole lines."""
        return records_of(text)

    def _restart(self) -> None:
        self._offset = 0
        self._inode = None
        self.restarts += 1


def read_all(path: Path) -> list[Record]:
    """Every complete record of the file; [] when it does not exist. Lines that are not JSON objects are left out."""
    return JsonLinesReader(path).read_new()


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record to a file that is written only now and then."""
    with JsonLinesWriter(path) as writer:
        writer.append(record)


def rewrite(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace the file as a whole by these records. Raises OSError; the file is as it was then."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            file.writelines(_line(record) for record in records)
        durable.put_in_place(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n"


def records_of(text: bytes) -> list[Record]:
    """The records of whole lines; those that are not JSON objects are left out."""
    records = []
    for line in text.split(b"\n"):
        try:
            record = parse(line)
        except ValueError:  # an empty line, or one torn by a crash
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _last_byte(path: Path) -> bytes:
    with open_plain(path) as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return b""
        file.seek(size - 1)
        return file.read(1)
