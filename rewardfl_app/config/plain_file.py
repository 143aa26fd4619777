"""Opening files that other programs and people put there: plain files alone.

A named pipe under the name of a file would hold its reader for ever, and a device could be read without an end.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader, FileIO
from pathlib import Path


def open_plain(path: Path | str, follow: bool = True) -> BufferedReader:
    """The file, open for reading bytes. Raises OSError, also for what is no plain file (it is not waited for), and
    without `follow` for a link, which may lead to a file that is nobody's business here.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except ValueError as error:  # a name that no file can have
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    try:
        _require_plain(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_to_append(path: Path | str) -> FileIO:
    """The file, made where there is none, open for appending without a buffer. Raises OSError, also for a link, which
    could lead anywhere, and for what is no plain file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    try:
        _require_plain(descriptor, path)
        return os.fdopen(descriptor, "ab", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_plain(path: Path | str, most_bytes: int | None = None) -> bytes:
    """All bytes of the file. Raises OSError, also where there are more than most_bytes."""
    with open_plain(path) as file:
        content = file.read() if most_bytes is None else file.read(most_bytes + 1)
    if most_bytes is not None and len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes} bytes", str(path))
    return content


def _require_plain(descriptor: int, path: Path | str) -> None:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
