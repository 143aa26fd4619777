"""How a run stands after each evaluation: its record in metrics.jsonl, the alarm, and which step is the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewardfl_app.runs import alarm, best, metrics

if TYPE_CHECKING:
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.reporting import Reporter


class Standing:
    """Rank 0's account of the evaluations.

    What an earlier start recorded is read once, when it is taken up; after that alarm and best go on from evaluation to
    evaluation, so that the thousandth costs no more than the first. A resumed run, whose records were cut, comes to
    what an uninterrupted one does.
    """

    def __init__(self, run: RunFolder, reporter: Reporter) -> None:
        self._run = run
        self._reporter = reporter
        self._watch = alarm.Watch()
        self._choice = best.Choice()

    @property
    def best_step(self) -> int | None:
        """The best step so far; None while there is none."""
        return None if self._choice.best is None else self._choice.best.step

    def take_up(self) -> None:
        """Goes on from the records of an earlier start."""
        for record in metrics.current(metrics.read_all(self._run.metrics)):
            if metrics.is_evaluation(record):
                self._go_on(record)
        best.write(self._run, self._choice.best)

    def add(self, step: int, record: dict[str, Any]) -> None:
        """Records the evaluation after update `step`; an alarm that begins or ends is an event."""
        before, former = self._watch.alarm, self._choice.best
        self._go_on({**record, "step": step})
        if self._choice.best != former:
            best.write(self._run, self._choice.best)
        now = self._watch.alarm
        self._reporter.record({**record, "eval/alarm": int(now is not None)})
        if now is not None and (before is None or before.reasons != now.reasons):
            self._reporter.event("alarm", now.sentence, step=step, since=now.since, reasons=now.reasons)
        elif now is None and before is not None:
            self._reporter.event("alarm_over", "What the alarm was about is no longer so.", step=step)

    def _go_on(self, record: metrics.Record) -> None:
        raised = self._watch.add(record)
        self._reporter.alarm = None if raised is None else raised.sentence
        if alarm.is_after_training(record):
            self._choice.add(record, raised)
