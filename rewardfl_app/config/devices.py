"""What this machine can train on, told without a library for it."""

from __future__ import annotations

import os
import re
from pathlib import Path

_DEVICE_FILES = Path("/dev")
_GPU_FILE = re.compile(r"nvidia(\d+)")


def visible_gpus() -> tuple[str, ...]:
    """The GPUs a process of this environment sees: what CUDA_VISIBLE_DEVICES names, else every one of the machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        names = [name.strip() for name in named.split(",")]
        # CUDA itself stops at the first name that is none.
        stop = next((place for place, name in enumerate(names) if not name or name == "-1"), len(names))
        return tuple(names[:stop])
    numbers = sorted(
        int(match.group(1)) for path in _DEVICE_FILES.glob("nvidia*") if (match := _GPU_FILE.fullmatch(path.name))
    )
    return tuple(str(number) for number in numbers)


def num_processors() -> int:
    """The processors that this process may use, at least 1."""
    return len(os.sched_getaffinity(0))


def threads_each(num_processes: int) -> int:
    """The threads of each of several processes that share the processors, at least 1."""
    return max(num_processors() // num_processes, 1)
