"""Room on the disk: looked for before a sample or a checkpoint is begun, and waited for while there is none."""

from __future__ import annotations

import errno
import shutil
import time
from typing import TYPE_CHECKING

from rewardfl_app.runs import reserve
from rewardfl_app.training import stopping

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.ranks import Ranks
    from rewardfl_app.training.reporting import Reporter

_POLL_SECONDS = 1.0
_STEP_BYTES = 2**20  # far more than a record, a status and an event take


class DiskFull(OSError):
    """Nobody made room in time; the message is one sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(errno.ENOSPC, sentence)
        self.sentence = sentence


class Room:
    """Pauses a run, all ranks together, while the disk of its folder has not got the room for what it writes next."""

    def __init__(self, run: RunFolder, config: Config, ranks: Ranks, reporter: Reporter) -> None:
        self._run = run
        self._spare = round(config.train.min_free_gb * 1e9)
        self._patience = 60.0 * config.train.disk_wait_minutes
        self._ranks = ranks
        self._reporter = reporter

    def wait_for_step(self) -> bool:
        """Whether there is room for what a step writes down, waited for; see `wait_for`."""
        return self.wait_for(_STEP_BYTES, "A step", spare=0)

    def wait_for(self, num_bytes: int, what: str, spare: int | None = None) -> bool:
        """Whether there is room for `num_bytes` more, waited for; False if stop_now was asked for meanwhile.

        All ranks call it; rank 0 looks. `spare`: bytes that must stay free, if not train.min_free_gb. Raises DiskFull
        when the patience is at its end.
        """
        spare = self._spare if spare is None else spare
        num_bytes += spare
        if not self._missing(num_bytes):
            return True
        needed = f"{what} needs {_size(num_bytes - spare)}"
        needed += f" and {_size(spare)} must stay free (train.min_free_gb)" if spare else ""
        sentence = f"The disk of the runs folder is nearly full: {needed}, but {_size(self._free())} are free."
        if self._ranks.is_first:
            reserve.spend(self._run)  # or there may be no room to say so
        self._reporter.event("disk", f"Paused. {sentence}", step=self._reporter.step)
        num_bytes += reserve.NUM_BYTES  # which is taken again
        before, waited_since = self._reporter.phase, time.monotonic()
        while self._missing(num_bytes):
            self._reporter.status("paused", f"{sentence} Free space, and it goes on by itself.")
            if stopping.wants_to_stop_now(self._run, self._ranks):
                return False
            if self._ranks.from_first([int(time.monotonic() - waited_since >= self._patience)])[0]:
                raise DiskFull(sentence)
            time.sleep(_POLL_SECONDS)
        if self._ranks.is_first:
            reserve.keep(self._run)
        self._reporter.event("disk", f"There is room again for {what}: going on.", step=self._reporter.step)
        self._reporter.status(before)
        return True

    def _missing(self, num_bytes: int) -> bool:
        short = self._ranks.is_first and self._free() < num_bytes
        return bool(self._ranks.from_first([int(short)])[0])

    def _free(self) -> int:
        return shutil.disk_usage(self._run.path).free


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 5e7 else f"{num_bytes / 1e6:.1f} MB"
