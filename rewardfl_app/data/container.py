"""What is wrong with a file that FFmpeg does not read as a video, in words of people: its first bytes and its boxes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rewardfl_app.config.plain_file import open_plain

_AGAIN = "copy or download it again"


def why_unreadable(path: Path, reason: object) -> str:
    """One sentence on a file that cannot be opened as a video; `reason` is what FFmpeg said. Raises OSError."""
    if not os.path.getsize(path):
        return f"{path} is empty (0 bytes): {_AGAIN}."
    boxes = [name for name, _ in _boxes(path)]
    if boxes and (b"moov" not in boxes or is_cut_off(path)):
        return f"{path} is cut off: the index of the video (moov) is missing or not whole; {_AGAIN}."
    with open_plain(path) as file:
        head = file.read(4096)
    if _is_text(head):
        return f"{path} is no video: it holds text."
    return f"{path} cannot be read as a video ({reason})."


def is_cut_off(path: Path) -> bool:
    """Whether an mp4 or mov ends before the boxes it announces; False for all other kinds of files."""
    size = os.path.getsize(path)
    return any(end > size for _, end in _boxes(path))


def _boxes(path: Path) -> Iterator[tuple[bytes, int]]:
    """Name and end of the outermost boxes of an mp4 or mov, the last of which may lie beyond the file."""
    size = os.path.getsize(path)
    with open_plain(path) as file:
        start = 0
        while start + 8 <= size:
            name, end = _box(file, start, size)
            if end < start + 8 or (start == 0 and name not in (b"ftyp", b"moov", b"mdat", b"wide")):
                return
            yield name, end
            start = end


def _box(file: BinaryIO, start: int, size: int) -> tuple[bytes, int]:
    file.seek(start)
    header = file.read(16)
    length = int.from_bytes(header[:4], "big")
    if length == 1:  # the length is the 64-bit number behind the name
        length = int.from_bytes(header[8:16], "big")
    return header[4:8], start + length if length else size


def _is_text(head: bytes) -> bool:
    """Whether the bytes are UTF-8 (perhaps cut within a character) without control characters."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\r\n\t\f\ufeff" for character in text)
