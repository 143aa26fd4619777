"""How a run stands after each evaluation: its record in metrics.jsonl, the alarm, and which step is the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewardfl_app.runs import alarm, best, metrics

if TYPE_CHECKING:
    from rewardfl_app.runs.alarm import Alarm
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.reporting import Reporter


class Standing:
    """Rank 0's account of the evaluations. Alarm and best are worked out from metrics.jsonl each time, so a resumed
    run, whose records were cut, comes to what an uninterrupted one does."""

    def __init__(self, run: RunFolder, reporter: Reporter) -> None:
        self._run = run
        self._reporter = reporter
        self._alarm: Alarm | None = None
        self.best_step: int | None = None

    def take_up(self) -> None:
        """Goes on from the records of an earlier start."""
        self._work_out(self._records())

    def add(self, step: int, record: dict[str, Any]) -> None:
        """Records the evaluation after update `step`; an alarm that begins or ends is an event."""
        before = self._alarm
        self._work_out([*self._records(), {**record, "step": step}])
        self._reporter.record({**record, "eval/alarm": int(self._alarm is not None)})
        now = self._alarm
        if now is not None and (before is None or before.reasons != now.reasons):
            self._reporter.event("alarm", now.sentence, step=step, since=now.since, reasons=now.reasons)
        elif now is None and before is not None:
            self._reporter.event("alarm_over", "What the alarm was about is no longer so.", step=step)

    def _work_out(self, records: list[metrics.Record]) -> None:
        self._alarm = alarm.current(records)
        self._reporter.alarm = None if self._alarm is None else self._alarm.sentence
        chosen = best.choose(records)
        best.write(self._run, chosen)
        self.best_step = None if chosen is None else chosen.step

    def _records(self) -> list[metrics.Record]:
        return [
            record for record in metrics.current(metrics.read_all(self._run.metrics)) if metrics.is_evaluation(record)
        ]
