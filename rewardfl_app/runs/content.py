"""What something is made of, as one short text: the keys of everything that is kept and shared between runs."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from rewardfl_app.config.plain_file import open_plain

WHOLE_BELOW_BYTES = 64 * 2**20
_END_BYTES = 2**20


def digest(value: object) -> str:
    """SHA-256, in hexadecimal, of a value that JSON can write: the same whatever the order of a mapping's keys.

    Raises TypeError for anything else (a path, a tensor) and ValueError for NaN and infinity, which JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def file_digest(path: Path | str) -> str:
    """A text that changes with the file's content; its name and place do not matter.

    Below 64 MiB the SHA-256 of all of it. A larger file is not read whole: its size, the time of its last change and
    the SHA-256 of its first and last MiB stand for it, so a touched copy counts as another file, which costs time but
    is never wrong. Raises OSError.
    """
    path = os.path.realpath(path)
    state = os.stat(path)
    return _file_digest(path, state.st_size, state.st_mtime_ns, state.st_ino)


def tree_digest(path: Path | str, suffix: str = "") -> str:
    """The digest of a file, or of all files under a folder with the places they have there; hidden ones are left out.

    `suffix` limits a folder to names that end so (".onnx"). Raises OSError when there is nothing at `path`.
    """
    path = Path(path)
    if not path.is_dir():
        return file_digest(path)
    places = {file: file.relative_to(path) for file in sorted(path.rglob(f"*{suffix}")) if file.is_file()}
    shown = {file: place for file, place in places.items() if not any(part.startswith(".") for part in place.parts)}
    return digest({place.as_posix(): file_digest(file) for file, place in shown.items()})


# One process asks for the same weights again and again; a file that changed has another size or time.
@lru_cache(maxsize=4096)
def _file_digest(path: str, size: int, mtime_ns: int, inode: int) -> str:
    with open_plain(path) as file:
        if size < WHOLE_BELOW_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        ends: Any = hashlib.sha256(file.read(_END_BYTES))
        file.seek(-_END_BYTES, os.SEEK_END)
        ends.update(file.read(_END_BYTES))
        return digest({"bytes": size, "modified_ns": mtime_ns, "ends": ends.hexdigest()})
