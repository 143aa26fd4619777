"""Memory of the C library, which the page's many threads share."""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8  # of glibc's malloc.h
_ARENAS = 2


def share_arenas() -> bool:
    """Let the threads to come share two pools of memory, so that a process that is asked for days stays as large as in
    its first hour; whether that was possible.

    Left alone, glibc gives up to eight pools to each processor, and what a thread frees in one the others do not use.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS))
    except (OSError, AttributeError):  # another C library
        return False
