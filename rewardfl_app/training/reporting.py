"""What rank 0 tells the outside: status.json, metrics.jsonl and events.jsonl."""

from __future__ import annotations

import logging
import resource
import time
from typing import TYPE_CHECKING, Any

import torch

from rewardfl_app.runs import jsonlines, metrics, reserve
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.metrics import MetricsWriter
from rewardfl_app.runs.status import State, Status, write_status

if TYPE_CHECKING:
    from rewardfl_app.runs.folder import RunFolder

logger = logging.getLogger(__name__)

_RECENT = 0.2  # weight of the newest duration in a running mean


class Reporter:
    """Writes the run's files when `active` (rank 0), and does nothing on other ranks."""

    def __init__(self, run: RunFolder, total: int, active: bool) -> None:
        self._run = run
        self.total = total
        self._active = active
        self._writer: MetricsWriter | None = None
        self._durations: dict[str, float] = {}
        self.phase: State = "loading"
        self.step = 0
        self.doing = ""
        self.alarm: str | None = None

    def now(self, what: str) -> None:
        """Notes what is being done, for the message of an error; writes nothing."""
        self.doing = what

    def status(self, phase: State, message: str = "", seconds_left: float | None = None) -> None:
        """Replaces status.json; `phase` is also the state, and a heartbeat."""
        self.phase = phase
        if self._active:
            now = Status(phase, phase, self.step, self.total, message, time.time(), seconds_left, self.alarm)
            try:
                write_status(self._run, now)
            except OSError as error:
                if not reserve.is_full(error):
                    raise
                logger.warning("the disk is full: status.json stays as it was")  # what must not be lost will say so

    def event(self, kind: str, message: str, **fields: Any) -> None:
        """Appends to events.jsonl."""
        if self._active:
            log_event(self._run, kind, message, **fields)

    def record(self, values: dict[str, Any]) -> None:
        """Appends one record with step and time to metrics.jsonl."""
        if self._active:
            if self._writer is None:
                self._writer = MetricsWriter(self._run.metrics)
            record = {"step": self.step, "time": time.time(), **values}
            try:
                self._writer.append(record)
            except OSError as error:
                # What was measured is kept; then the run ends, as there is no more room after this.
                if reserve.is_full(error) and reserve.spend(self._run):
                    self._writer.append(record)
                raise

    def cut_after(self, step: int) -> None:
        """Removes the records of later steps, which a resumed run writes again."""
        if not self._active or not self._run.metrics.exists():
            return
        records = metrics.current(metrics.read_all(self._run.metrics))
        kept = [record for record in records if record["step"] <= step]
        jsonlines.rewrite(self._run.metrics, kept)

    def took(self, what: str, seconds: float) -> None:
        """Notes a duration for the estimate of the time left."""
        before = self._durations.get(what, seconds)
        self._durations[what] = (1 - _RECENT) * before + _RECENT * seconds

    def seconds_left(self, num_steps: int, num_evaluations: int) -> float | None:
        """Estimate for what is still to do; None before the first step."""
        if "step" not in self._durations:
            return None
        return num_steps * self._durations["step"] + num_evaluations * self._durations.get("evaluation", 0.0)


def peak_memory_gb() -> float:
    """Highest memory in use so far, 10^9 bytes: of the GPU if there is one, else resident memory of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
