""".reserve: a little room on the disk that a run holds, so that it can still say what happened when there is none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from rewardfl_app.runs.folder import RunFolder

Result = TypeVar("Result")

NUM_BYTES = 256 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


def keep(run: RunFolder) -> None:
    """Take the room, where it is not held already. Raises OSError when the disk has not got it."""
    path = run.path / ".reserve"
    with open(path, "ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, NUM_BYTES)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def spend(run: RunFolder) -> bool:
    """Give the room back; whether there was any."""
    try:
        (run.path / ".reserve").unlink()
    except OSError:
        return False
    return True


def last_words(run: RunFolder, write: Callable[[], Result]) -> Result:
    """What `write` returns; on a full disk it is called once more, with the room that was held. Raises OSError."""
    try:
        return write()
    except OSError as error:
        if not is_full(error) or not spend(run):
            raise
        return write()


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is a disk (or a quota) that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
            return True  # as libraries tell it that know no errno
        error = error.__cause__ or error.__context__
    return False
