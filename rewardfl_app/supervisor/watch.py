"""Staying with a trainer until it is gone: ending it in stages when asked, and when one of its processes is lost."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import account, log_rotation
from rewardfl_app.supervisor.rank_watch import LostRank, RankWatch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StopStages:
    """Patience of the stages of a stop, in seconds."""

    after_request: float = 10.0
    after_terminate: float = 10.0
    poll: float = 0.2


# DeepSpeed's launcher gives its ranks 30 s after SIGTERM before it kills them itself.
LAUNCHER_STAGES = StopStages(after_terminate=35.0)


@dataclass
class Signals:
    """Signals that reached this process since `install`."""

    received: list[int] = field(default_factory=list)

    def install(self) -> None:
        """From now on SIGTERM and SIGINT are noted, and a terminal that closes is none of our business."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received.append(number)


@dataclass(frozen=True)
class Trainer:
    """What a watch has to do with a trainer's processes, whoever started them.

    `wait(seconds)` waits for the end and tells whether it came; `terminate` and `kill` send SIGTERM and SIGKILL to all
    of them.
    """

    wait: Callable[[float], bool]
    terminate: Callable[[], None]
    kill: Callable[[], None]


class Watch:
    """The watch over one attempt."""

    def __init__(
        self, run: RunFolder, trainer: Trainer, signals: Signals, stages: StopStages, ranks: RankWatch
    ) -> None:
        self._run = run
        self._trainer = trainer
        self._signals = signals
        self._stages = stages
        self._ranks = ranks
        self._terminate_at: float | None = None
        self._kill_at: float | None = None
        self._lost: LostRank | None = None

    @property
    def ended_by_us(self) -> bool:
        """Whether a signal was sent to the trainer."""
        return self._kill_at is not None

    @property
    def lost_rank(self) -> LostRank | None:
        """The process that went first, before anything was sent to it; None of a single one."""
        return self._lost if self.ended_by_us else self._ranks.lost

    def until_the_end(self) -> None:
        """Returns when the trainer is gone."""
        self._look()
        while not self._trainer.wait(self._stages.poll):
            self._look()
        self._ranks.look()

    def _look(self) -> None:
        try:
            self._ranks.look()
            self._advance(time.monotonic())
            log_rotation.rotate(self._run.log)
        except OSError:  # a disk that does not answer is no reason to end a run that does
            log.exception("the run could not be looked at")

    def _advance(self, now: float) -> None:
        if self._terminate_at is None and account.stop_asked(self._run) == "stop_now":
            self._terminate_at = now + self._stages.after_request
        if self._kill_at is None and (self._signals.received or self._ranks.is_overdue):
            self._terminate_at = now
        if self._terminate_at is not None and now >= self._terminate_at and self._kill_at is None:
            self._lost = self._ranks.lost
            self._trainer.terminate()
            self._kill_at = now + self._stages.after_terminate
        if self._kill_at is not None and now >= self._kill_at:
            self._trainer.kill()
