"""Columns of a run's measurements: holes, resumed runs, thinning."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from rewardfl_app.runs import columns as module
from rewardfl_app.runs.columns import Columns
from rewardfl_app.runs.metrics import current


def _training(step: int, **values: Any) -> dict[str, Any]:
    return {"step": step, "time": 1000.0 + step, "loss": 1.0, **values}


def _columns(records: list[dict[str, Any]]) -> Columns:
    columns = Columns()
    columns.extend(records)
    return columns


def _points(columns: Columns, name: str) -> list[tuple[float, float]]:
    column = columns.get(name)
    return [] if column is None else list(zip(column.steps, column.values, strict=True))


def test_null_nan_and_text_leave_a_gap_and_break_nothing() -> None:
    columns = _columns([_training(1), _training(2, loss=None), _training(3, loss=math.nan), _training(4, loss="x")])
    assert _points(columns, "loss") == [(1, 1.0)]
    assert columns.get("kl") is None and columns.names() == ["loss"]


def test_the_interval_of_a_change_lies_around_its_mean() -> None:
    record = {"step": 20, "time": 1.0, "eval/motion": 3.9, "eval/motion_baseline": 4.0, "eval/motion_gain": -0.1}
    columns = _columns([record | {"eval/motion_gain_low": -0.3, "eval/motion_gain_high": 0.1}])
    motion = columns.get("eval/motion")
    assert motion is not None and motion.has_intervals
    assert (motion.lows[0], motion.highs[0]) == (pytest.approx(3.7), pytest.approx(4.1))
    assert columns.names() == ["eval/motion"] and columns.baseline("eval/motion") == 4.0


def test_the_base_models_own_record_is_its_level() -> None:
    assert _columns([{"step": 0, "time": 1.0, "eval/reward": 0.6}]).baseline("eval/reward") == 0.6


@pytest.mark.parametrize("seed", range(20))
def test_growing_step_by_step_agrees_with_reading_at_once(seed: int) -> None:
    choose = random.Random(seed)
    records: list[dict[str, Any]] = []
    step = 0
    for value in range(60):
        step = max(0, step + choose.choice([1, 1, 1, 1, 0, -3]))
        name = "eval/reward" if choose.random() < 0.3 else "loss"
        records.append({"step": step, "time": 1.0, name: float(value)})
    columns = Columns()
    for record in records:
        columns.extend([record])
    standing = current(records)
    for name in ("loss", "eval/reward"):
        assert _points(columns, name) == [(float(r["step"]), r[name]) for r in standing if name in r]
    judged = [(record["step"], record["eval/reward"]) for record in columns.evaluations]
    assert judged == [(r["step"], r["eval/reward"]) for r in standing if "eval/reward" in r]


def test_what_no_longer_stands_is_counted_and_nothing_else() -> None:
    columns = _columns([_training(1), _training(2), {"step": 2, "time": 1.0, "eval/reward": 0.5}, _training(3)])
    assert columns.cuts == 0
    columns.extend([_training(2, loss=2.0)])
    assert columns.cuts == 1 and _points(columns, "loss") == [(1, 1.0), (2, 2.0)] and columns.evaluations == []


def test_thinning_keeps_ends_and_spikes() -> None:
    values = np.zeros(10_007)
    values[5003], values[7001] = 50.0, -50.0
    kept = module.thin(np.arange(10_007.0), values)
    assert len(kept) <= module.MAX_POINTS + 2
    assert {0, 10_006, 5003, 7001} <= set(kept)
    assert kept == sorted(set(kept))


def test_short_series_are_not_thinned() -> None:
    assert module.thin(np.arange(5.0), np.zeros(5)) == [0, 1, 2, 3, 4]


def test_only_what_comes_after_a_step_is_kept() -> None:
    column = _columns([_training(step) for step in range(1, 11)]).get("loss")
    assert column is not None
    assert [column.steps[i] for i in column.kept(7)] == [8, 9, 10] and column.kept(10) == []


def test_a_long_curve_keeps_its_ends_and_its_spikes_and_no_more_points() -> None:
    columns = Columns()
    spikes = {700: 9.0, 31_234: -9.0, 44_001: 8.0}
    for step in range(1, 50_001):
        columns.extend([_training(step, loss=spikes.get(step, math.sin(step)))])
        column = columns.get("loss")
        assert column is not None and len(column.steps) <= module.MAX_KEPT
    points = _points(columns, "loss")
    assert points[0][0] == 1 and points[-1][0] == 50_000 and spikes.items() <= dict(points).items()
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert column is not None
    drawn = [column.steps[index] for index in column.kept(-math.inf)]
    assert len(drawn) <= module.MAX_POINTS + 2 and max(np.diff(drawn)) <= 3 * 50_000 / (module.MAX_POINTS / 2)


def test_a_resumed_long_run_is_cut_where_it_goes_on() -> None:
    columns = _columns([_training(step) for step in range(1, 20_001)])
    columns.extend([_training(12_345, loss=7.0)])
    points = _points(columns, "loss")
    assert points[-1] == (12_345, 7.0) and points[-2][0] < 12_345
