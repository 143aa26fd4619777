"""An estimate comes from what an earlier run of the same shape took, counted from its files."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_run import FakeRun

from rewardfl_app.config import presets
from rewardfl_app.runs import jsonlines
from rewardfl_app.runs.metrics import MetricsWriter
from rewardfl_app.ui.config_form import Values, values_of
from rewardfl_app.ui.run_estimate import NEUTRAL, Pace, estimate, pace, same_shape


@pytest.fixture
def values() -> Values:
    """The pocket preset's: 50 steps, an evaluation every 25."""
    return values_of(presets.preset("pocket"))


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """Steps of 2 s each from second 110 on, and an evaluation of 30 s after the second; started at second 100."""
    run = FakeRun(tmp_path)
    jsonlines.append(run.folder.events, {"time": 100.0, "kind": "started", "message": ""})
    writer = MetricsWriter(run.folder.metrics)
    for step, time in ((1, 112.0), (2, 114.0)):
        writer.append({"step": step, "time": time, "step_seconds": 2.0, "reward": 0.5})
    writer.append({"step": 2, "time": 144.0, "eval/reward": 0.5})
    return run


def test_two_steps_tell_nothing(run: FakeRun, values: Values) -> None:
    assert pace(run.folder) is None and estimate(values, [(run.folder, values)]) is None


def test_start_steps_and_evaluations_add_up(run: FakeRun, values: Values) -> None:
    MetricsWriter(run.folder.metrics).append({"step": 3, "time": 146.0, "step_seconds": 2.0})
    assert pace(run.folder) == Pace(step=2.0, evaluation=30.0, start=10.0)
    told = estimate(values, [(run.folder, values)])
    assert told is not None and told[0] == 10 + 50 * 2 + 2 * 30
    told = estimate({**values, "train.max_steps": "51"}, [(run.folder, values)])
    assert told is not None and told[0] == 10 + 51 * 2 + 3 * 30


def test_another_shape_tells_nothing(values: Values) -> None:
    assert same_shape(values, {**values, "train.learning_rate": "1", "train.seed": "9"})
    for key, value in {"data.num_frames": "9", "sampling.mid_timestep": "7", "reward.kl_weight": "0"}.items():
        assert not same_shape(values, {**values, key: value}), key


def test_every_neutral_field_exists(values: Values) -> None:
    assert set(values) >= NEUTRAL


@pytest.mark.parametrize("steps", ["", "many", "0"])
def test_a_number_of_steps_that_is_none_gives_no_estimate(run: FakeRun, values: Values, steps: str) -> None:
    assert estimate({**values, "train.max_steps": steps}, [(run.folder, values)]) is None
