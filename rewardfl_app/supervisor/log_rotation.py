"""Keeping train.log from filling the disk in a run of weeks.

Every process of the run has the file open for appending, so it cannot be renamed: what is there is copied to
train.log.1, and the file is cut to nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from rewardfl_app.runs import durable

LARGEST_BYTES = 32 * 2**20
_BLOCK = 2**20


def rotate(log: Path, largest: int = LARGEST_BYTES) -> bool:
    """Begin the log anew where it is larger than `largest`; whether it was. The part before the last is dropped.

    Raises OSError; the log is left as it is then.
    """
    try:
        if log.stat().st_size <= largest:
            return False
    except FileNotFoundError:
        return False
    before = log.with_name(f"{log.name}.1")
    unfinished = log.with_name(f".{log.name}.1.part")
    try:
        with open(log, "r+b") as source, open(unfinished, "wb") as target:
            # What comes in meanwhile is copied, too; only between the last look and the cut can a line slip by.
            while block := source.read(_BLOCK):
                target.write(block)
            target.flush()
            os.ftruncate(source.fileno(), 0)
        durable.put_in_place(unfinished, before)
    finally:
        unfinished.unlink(missing_ok=True)
    return True
