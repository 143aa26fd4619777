"""`python -m rewardfl_app.supervisor.local_ranks N ARGUMENTS`: N processes `python -u ARGUMENTS` on the processors of
this machine, each told its rank, as DeepSpeed's launcher starts them on GPUs, but at once: that one imports torch twice
before the first of them begins.

One that fails, or a SIGTERM, ends all: SIGTERM, and after a few seconds SIGKILL. It ends as the first that failed did.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

_GRACE_SECONDS = 5


def main(arguments: list[str]) -> int:
    """The exit code of the first process that failed, negative for a signal; 0 if none did."""
    size = int(arguments[0])
    ranks: list[subprocess.Popen[bytes]] = []

    def end(*_: object) -> None:
        for rank in ranks:
            rank.terminate()
        signal.alarm(_GRACE_SECONDS)

    def kill(number: int, frame: FrameType | None) -> None:
        for rank in ranks:
            rank.kill()

    signal.signal(signal.SIGALRM, kill)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    for number in range(size):
        place = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(size)}
        ranks.append(subprocess.Popen([sys.executable, "-u", *arguments[1:]], env={**os.environ, **place}))
    failed = 0
    while ranks:
        pid, status = os.waitpid(-1, 0)
        ranks[:] = [rank for rank in ranks if rank.pid != pid]
        code = os.waitstatus_to_exitcode(status)
        if code and not failed:
            failed = code
            end()
    return failed


def _leave(code: int) -> None:
    """Ends this process as another did."""
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
