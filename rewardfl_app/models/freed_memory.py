"""Memory that is free but still held by the process, given back to the system."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Hand freed memory back; does nothing where the C library is not GNU's.

    The large arrays of one chunk of video leave holes, the small results that are kept fall into them, and the next
    chunk's arrays no longer fit: without this a long clip takes hundreds of megabytes that nobody uses.
    """
    trim = getattr(_LIBRARY, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _c_library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows has no such handle
        return None


_LIBRARY = _c_library()
