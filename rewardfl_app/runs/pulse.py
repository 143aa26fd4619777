"""ranks/: each training process says who it is, and touches its file every two seconds while it lives.

A process that is stopped or stuck touches nothing, which its process id alone does not tell. Files of processes on
other machines are read the same way, where the run folder is shared.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardfl_app.runs import identity
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

BEAT_SECONDS = 2.0


@dataclass(frozen=True)
class Rank:
    """One training process: its number from 0, of `size`; `record` identifies it, `beat` is the time of its last touch
    in ns by the clock of the disk."""

    number: int
    size: int
    record: Mapping[str, Any]
    beat: int


def start(run: RunFolder, number: int, size: int) -> threading.Event:
    """Say who this process is and touch the file until the process ends, or what is returned is set. Raises OSError."""
    run.ranks.mkdir(exist_ok=True)
    path = run.ranks / f"rank_{number:04d}.json"
    write_json_atomic(path, identity.own(rank=number, size=size))

    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # the folder is gone, or the disk is: nobody to be told
                os.utime(path)

    threading.Thread(target=beat, name="pulse", daemon=True).start()
    return over


def read(run: RunFolder) -> list[Rank]:
    """The training processes of this attempt, by number; those that have not come as far are missing."""
    found = []
    for path in sorted(run.ranks.glob("rank_*.json")):
        record = read_json(path)
        if record is None:
            continue
        number, size, pid = (record.get(name) for name in ("rank", "size", "pid"))
        if isinstance(number, int) and isinstance(size, int) and isinstance(pid, int):
            with contextlib.suppress(OSError):
                found.append(Rank(number, size, record, path.stat().st_mtime_ns))
    return found


def clear(run: RunFolder) -> None:
    """Forget the processes of the attempt before; while none of them lives. Raises OSError."""
    for path in run.ranks.glob("*"):
        path.unlink(missing_ok=True)
