"""Resident memory of this process as the operating system counts it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_mb() -> float:
    """The most memory that was resident since the start, or since `start_peak`, in MB (2^20 bytes)."""
    seen = _status("VmHWM")
    if seen is not None:
        return seen
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def start_peak() -> float:
    """Gives freed memory back, lets the peak start anew from here where the system can (Linux), and returns what is
    resident now, in MB."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return peak_mb()
    return _status("VmRSS") or peak_mb()


def _status(name: str) -> float | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 2**10
    return None
