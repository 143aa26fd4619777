from __future__ import annotations

import numpy as np
from written_runs import WrittenRun

from rewardfl_app.notebook.measures import Measures
from rewardfl_app.runs.columns import MAX_POINTS


def test_only_what_is_new_is_read(written: WrittenRun) -> None:
    measures = Measures(written.run.folder)
    assert not measures.read() and measures.last_step == 0
    written.evaluations(2)
    assert measures.read() and not measures.read()
    written.steps(21, 23)
    assert measures.read() and measures.last_step == 23
    assert measures.points("reward").steps.tolist() == [21, 22, 23]


def test_the_interval_lies_around_the_mean_of_an_evaluation(written: WrittenRun) -> None:
    measures = Measures(written.run.folder)
    written.add(
        {"step": 0, "eval/reward": 0.6},
        {"step": 10, "eval/reward": 0.75, "eval/reward_baseline": 0.6, "eval/reward_gain_low": 0.1,
         "eval/reward_gain_high": 0.2},
    )  # fmt: skip
    measures.read()
    points = measures.points("eval/reward")
    assert measures.before("eval/reward") == 0.6 and measures.before("eval/judge") is None
    assert np.isnan(points.lows[0]) and np.allclose([points.lows[1], points.highs[1]], [0.7, 0.8])


def test_a_resumed_run_counts_as_it_was_written_last(written: WrittenRun) -> None:
    measures = Measures(written.run.folder)
    written.steps(1, 20)
    written.evaluations(2)
    measures.read()
    written.add({"step": 11, "reward": 0.1})
    measures.read()
    assert measures.points("eval/reward").steps.tolist() == [0, 10]
    current = [(record["step"], record["reward"]) for record in written.run.updates]
    points = measures.points("reward")
    assert list(zip(points.steps, points.values, strict=True)) == current and current[-1] == (11, 0.1)


def test_a_file_that_is_replaced_is_read_anew(written: WrittenRun) -> None:
    measures = Measures(written.run.folder)
    written.steps(1, 9)
    measures.read()
    written.run.folder.metrics.write_text("")
    written.steps(1, 2)
    measures.read()
    assert measures.points("reward").steps.tolist() == [1, 2]


def test_a_long_curve_is_thinned_and_no_spike_is_lost(written: WrittenRun) -> None:
    measures = Measures(written.run.folder)
    written.steps(1, 6000)
    written.add({"step": 6001, "reward": 9.0}, {"step": 6002, "reward": 0.5})
    measures.read()
    points = measures.points("reward")
    assert len(points.steps) <= 1.1 * MAX_POINTS
    assert points.values.max() == 9.0 and points.steps[0] == 1 and points.steps[-1] == 6002
