"""How large a process is now, from the operating system."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Size:
    """`resident_kb`: memory in use; `own_kb`: the part that no other process shares."""

    resident_kb: int
    own_kb: int
    handles: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Size:
        """The size of a running process. Raises FileNotFoundError or ProcessLookupError when it has ended."""
        status = _numbers(_PROC / str(pid) / "status")
        shares = _numbers(_PROC / str(pid) / "smaps_rollup")
        own = shares["Private_Clean"] + shares["Private_Dirty"]
        return cls(status["VmRSS"], own, len(os.listdir(_PROC / str(pid) / "fd")), status["Threads"])


def children(pid: int) -> list[int]:
    """Ids of the processes that a process has started."""
    return [int(child) for child in (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()]


def _numbers(path: Path) -> dict[str, int]:
    """The lines `Name:   12 kB` of a file."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        first = rest.split()[:1]
        if first and first[0].isdigit():
            found[name] = int(first[0])
    return found
