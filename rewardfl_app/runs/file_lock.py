"""One process at a time: a lock on a file, which the system gives back when its process ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardfl_app.config.plain_file import open_to_append


@contextmanager
def held(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of this file, over all processes of the machine; gives whether it is held.

    Without `wait` it is not when another process has it. Raises OSError, also where the file is a link.
    """
    with open_to_append(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
