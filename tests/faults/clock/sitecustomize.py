"""On PYTHONPATH of a child process: its clock is off by the seconds in the file that REWARDFL_TEST_CLOCK names.

What a person or a time server that sets the clock does to every process of a machine, for the processes of one test.
"""

import os
import time

_FILE = os.environ.get("REWARDFL_TEST_CLOCK", "")
_real, _real_ns = time.time, time.time_ns


def _offset() -> float:
    try:
        with open(_FILE) as file:
            return float(file.read() or 0.0)
    except (OSError, ValueError):
        return 0.0


if _FILE:
    time.time = lambda: _real() + _offset()
    time.time_ns = lambda: _real_ns() + int(_offset() * 1e9)
