"""A child process that has done its work ends at once, with its words and its exit code."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import atexit, logging, sys, time
from rewardfl_app.runs.process_end import end_process
logging.basicConfig(stream=sys.stderr)
class Slow:
    def __del__(self):
        time.sleep(60)
slow = Slow()
atexit.register(time.sleep, 60)
print("done", end="")
logging.getLogger("child").warning("careful")
end_process(3)
"""


def test_what_was_said_arrives_and_nothing_is_waited_for() -> None:
    ended = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stdout) == (3, "done")
    assert "careful" in ended.stderr
