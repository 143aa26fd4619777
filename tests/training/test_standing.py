"""The account of the evaluations goes on from one to the next, and says what the whole record does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_up_runs import Course, records, rising

from rewardfl_app.runs import alarm, best, metrics
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training.evaluation import Evaluation
from rewardfl_app.training.reporting import Reporter
from rewardfl_app.training.standing import Standing

COURSES: dict[str, dict[str, Course]] = {
    "honest": {"reward": rising(0.12), "judge": rising(0.1)},
    "hacked": {"reward": rising(0.15), "judge": lambda share: 0.08 * share - 0.2 * max(0.0, share - 0.5)},
    "frozen": {"reward": rising(0.12), "judge": rising(0.1), "motion": rising(-0.3)},
}


def _standing(run: RunFolder, step: int = 0) -> tuple[Standing, Reporter]:
    reporter = Reporter(run, 1000, active=True)
    reporter.step = step
    return Standing(run, reporter), reporter


@pytest.mark.parametrize("course", COURSES)
def test_each_evaluation_says_what_the_whole_record_does(tmp_path: Path, course: str) -> None:
    run = RunFolder.create(tmp_path)
    standing, reporter = _standing(run)
    made = records(3, num_evaluations=30, **COURSES[course])
    for place, record in enumerate(made):
        if place == 14:  # it is stopped here, and goes on
            standing, reporter = _standing(run)
            standing.take_up()
        reporter.step = record["step"]
        standing.add(record["step"], {name: value for name, value in record.items() if name != "step"})
        known = made[: place + 1]
        now, chosen = alarm.current(known), best.choose(known)
        assert reporter.alarm == (None if now is None else now.sentence)
        assert best.read(run) == chosen and standing.best_step == (None if chosen is None else chosen.step)
        assert metrics.read_all(run.metrics)[-1]["eval/alarm"] == int(now is not None)
    assert bool([event for event in read_events(run) if event["kind"] == "alarm"]) == (course != "honest")


def test_what_a_resumed_run_takes_up_may_have_no_best_any_more(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    best.write(run, best.Best(10, "", {}))
    _standing(run)[0].take_up()
    assert best.read(run) is None


def test_the_evaluations_to_come_are_counted_without_going_through_the_steps() -> None:
    def due(every: int, last: int, step: int) -> tuple[int, int]:
        evaluation: Any = Evaluation.__new__(Evaluation)
        evaluation.change(
            SimpleNamespace(evaluation=SimpleNamespace(eval_steps=every), train=SimpleNamespace(max_steps=last))
        )
        return evaluation.num_due(step), sum(evaluation.is_due(later) for later in range(step + 1, last + 1))

    for every in (1, 3, 7, 50):
        for last in (0, 1, 6, 7, 21, 22):
            for step in range(last + 3):
                counted, one_by_one = due(every, last, step)
                assert counted == one_by_one
