"""Files with one JSON object per line: appended by one writer while others read along."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rewardfl_app.runs.jsonfile import plain

Record = dict[str, Any]


class JsonLinesWriter:
    """Appends records; each is there for every reader, and on the disk, when `append` returns."""

    def __init__(self, path: Path) -> None:
        """Open for appending. A line torn by an earlier crash is closed, so that it spoils no record of ours."""
        self._file = open(path, "ab", buffering=0)
        if _last_byte(path) not in (b"", b"\n"):
            self._file.write(b"\n")

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record as one line, whole or not at all; NaN and infinity become null. Raises OSError."""
        line = json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n"
        left = memoryview(line.encode())
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
        self.restarts = 0

    def read_new(self) -> list[Record]:
        """Records of the lines completed since the last call; [] while the file does not exist yet."""
        try:
            with open(self._path, "rb") as file:
                return self._read(file.fileno())
        except FileNotFoundError:
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
        return _records(text)

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


def _records(text: bytes) -> list[Record]:
    records = []
    for line in text.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:  # an empty line, or one torn by a crash
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _last_byte(path: Path) -> bytes:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return b""
        file.seek(size - 1)
        return file.read(1)
