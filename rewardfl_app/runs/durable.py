"""Files that survive a crash: on the disk before they get their name, and the name on the disk before we go on.

A rename alone is not enough: after a power cut a file may have its new name and none of its bytes.
"""

from __future__ import annotations

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Give a written file its final name; a reader sees the old content or the new one, whole. Raises OSError."""
    flush(unfinished)
    os.replace(unfinished, path)
    flush(path.parent)


def rename(folder: Path, path: Path) -> None:
    """Give a folder whose files are flushed its final name. Raises OSError."""
    flush(folder)
    os.rename(folder, path)
    flush(path.parent)
