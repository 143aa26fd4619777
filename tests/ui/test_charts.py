"""Curves: which there are, thinning, and what happens to holes and resumed runs."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from rewardfl_app.runs.metrics import current
from rewardfl_app.ui import charts


def _training(step: int, **values: Any) -> dict[str, Any]:
    return {"step": step, "time": 1000.0 + step, "loss": 1.0, **values}


def _build(records: list[dict[str, Any]], marks: Any = ()) -> list[dict[str, Any]]:
    columns = charts.Columns()
    columns.extend(records)
    return charts.build(columns, marks)


def _by_key(built: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {chart["key"]: chart for chart in built}


def test_nothing_measured_gives_no_chart() -> None:
    assert _build([]) == []


def test_null_and_nan_leave_a_gap_and_break_nothing() -> None:
    built = _by_key(_build([_training(1), _training(2, loss=None), _training(3, loss=math.nan), _training(4)]))
    assert built["loss"]["series"][0]["x"] == [1, 4]
    assert "kl" not in built


def test_reward_chart_shows_training_reward_judge_and_both_levels() -> None:
    records = [
        {"step": 0, "time": 1.0, "eval/reward": 0.6, "eval/judge": 0.7, "eval/motion": 5.0}
        | {"eval/reward_baseline": 0.6, "eval/judge_baseline": 0.7, "eval/motion_baseline": 5.0},
        _training(1, reward=0.61),
    ]
    built = _by_key(_build(records, [(1, "checkpoint 1")]))
    reward = built["reward"]
    assert [series["role"] for series in reward["series"]] == ["train", "after", "judge"]
    assert [(line["role"], line["y"]) for line in reward["lines"]] == [("before", 0.6), ("judge", 0.7)]
    assert reward["marks"] == [{"step": 1, "label": "checkpoint 1"}]
    assert built["motion"]["lines"][-1] == {"label": "95% of before", "role": "warn", "y": 4.75}


def test_a_resumed_run_shows_its_second_account_of_a_step() -> None:
    records = [_training(1), _training(2, loss=9.0), _training(3, loss=9.0), _training(2, loss=2.0)]
    loss = _by_key(_build(records))["loss"]["series"][0]
    assert (loss["x"], loss["y"]) == ([1, 2], [1.0, 2.0])


@pytest.mark.parametrize("seed", range(20))
def test_growing_step_by_step_agrees_with_reading_at_once(seed: int) -> None:
    choose = random.Random(seed)
    records: list[dict[str, Any]] = []
    step = 0
    for value in range(60):
        step = max(0, step + choose.choice([1, 1, 1, 1, 0, -3]))
        if choose.random() < 0.3:
            records.append({"step": step, "time": 1.0, "eval/reward": float(value)})
        else:
            records.append({"step": step, "time": 1.0, "loss": float(value)})
    columns = charts.Columns()
    for record in records:
        columns.extend([record])
    standing = current(records)
    for key in ("loss", "eval/reward"):
        expected = [(float(r["step"]), r[key]) for r in standing if key in r]
        assert [(point[0], point[2]) for point in columns.points(key)] == expected
    assert columns.evaluations == [r for r in standing if "eval/reward" in r]


def test_thinning_keeps_ends_and_spikes() -> None:
    values = np.zeros(10_007)
    values[5003], values[7001] = 50.0, -50.0
    kept = charts.thin(values)
    assert len(kept) <= charts.MAX_POINTS + 2
    assert {0, 10_006, 5003, 7001} <= set(kept)
    assert kept == sorted(set(kept))


def test_short_series_are_not_thinned() -> None:
    assert charts.thin(np.zeros(5)) == [0, 1, 2, 3, 4]
