"""Curves: which there are, thinning, and what happens to holes and resumed runs."""

from __future__ import annotations

import math
from typing import Any

from rewardfl_app.runs.metrics import current
from rewardfl_app.ui import charts


def _training(step: int, **values: Any) -> dict[str, Any]:
    return {"step": step, "time": 1000.0 + step, "loss": 1.0, **values}


def _by_key(built: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {chart["key"]: chart for chart in built}


def test_nothing_measured_gives_no_chart() -> None:
    assert charts.build([]) == []


def test_null_and_nan_leave_a_gap_and_break_nothing() -> None:
    built = _by_key(charts.build([_training(1), _training(2, loss=None), _training(3, loss=math.nan), _training(4)]))
    assert built["loss"]["series"][0]["x"] == [1, 4]
    assert "kl" not in built


def test_reward_chart_shows_training_reward_judge_and_both_levels() -> None:
    records = [
        {"step": 0, "time": 1.0, "eval/reward": 0.6, "eval/judge": 0.7, "eval/motion": 5.0}
        | {"eval/reward_baseline": 0.6, "eval/judge_baseline": 0.7, "eval/motion_baseline": 5.0},
        _training(1, reward=0.61),
    ]
    built = _by_key(charts.build(records, [(1, "checkpoint 1")]))
    reward = built["reward"]
    assert [series["role"] for series in reward["series"]] == ["train", "after", "judge"]
    assert [(line["role"], line["y"]) for line in reward["lines"]] == [("before", 0.6), ("judge", 0.7)]
    assert reward["marks"] == [{"step": 1, "label": "checkpoint 1"}]
    assert built["motion"]["lines"][-1] == {"label": "90% of before", "role": "warn", "y": 4.5}


def test_a_resumed_run_shows_its_second_account_of_a_step() -> None:
    records = current([_training(1), _training(2, loss=9.0), _training(3, loss=9.0), _training(2, loss=2.0)])
    loss = _by_key(charts.build(records))["loss"]["series"][0]
    assert (loss["x"], loss["y"]) == ([1, 2], [1.0, 2.0])


def test_thinning_keeps_ends_and_spikes() -> None:
    points = [(float(step), 0.0, 0.0) for step in range(10_000)]
    points[5003] = (5003.0, 0.0, 50.0)
    points[7001] = (7001.0, 0.0, -50.0)
    thinned = charts.thin(points)
    assert len(thinned) <= charts.MAX_POINTS + 2
    assert {points[0], points[-1], points[5003], points[7001]} <= set(thinned)
    assert thinned == sorted(thinned)


def test_short_series_are_not_thinned() -> None:
    points = [(0.0, 0.0, 1.0), (1.0, 0.0, 2.0)]
    assert charts.thin(points) == points
