"""Which charts there are, and what belongs into each."""

from __future__ import annotations

from typing import Any

from rewardfl_app.runs.columns import Columns
from rewardfl_app.runs.video_values import MEASURES
from rewardfl_app.ui import charts


def _by_key(*records: dict[str, Any]) -> dict[str, dict[str, Any]]:
    columns = Columns()
    columns.extend({"time": 1.0, **record} for record in records)
    return {chart["key"]: chart for chart in charts.layout(columns)}


def test_nothing_measured_gives_no_chart() -> None:
    assert _by_key() == {}


def test_reward_chart_shows_training_reward_judge_and_both_levels() -> None:
    found = _by_key(
        {"step": 0, "eval/reward": 0.6, "eval/judge": 0.7, "eval/motion": 5.0},
        {"step": 1, "reward": 0.61},
    )
    reward = found["reward"]
    assert [curve["role"] for curve in reward["curves"]] == ["train", "after", "judge"]
    assert [curve["marks"] for curve in reward["curves"]] == [False, True, True]
    assert [(line["role"], line["y"]) for line in reward["lines"]] == [("before", 0.6), ("judge", 0.7)]
    assert found["motion"]["lines"][-1] == {"label": "95% of before", "role": "warn", "y": 4.75}


def test_every_measure_of_the_evaluation_videos_has_a_chart() -> None:
    drawn = {curve.key for chart in charts.CHARTS for curve in chart.curves}
    assert {f"eval/{name}" for name in MEASURES} <= drawn
    assert {chart.group for chart in charts.CHARTS} == set(charts.GROUPS)


def test_each_of_several_rewards_has_a_chart_of_its_own() -> None:
    name = "reward/mine.rewards:Bright"
    found = _by_key({"step": 1, name: 0.2, "reward/face_similarity": 0.6}, {"step": 1, f"eval/{name}": 0.3})
    titles = [chart["title"] for key, chart in found.items() if key.startswith("reward-")]
    assert titles == ["Reward: Bright", "Reward: face_similarity"]
    assert [curve["key"] for curve in found["reward-0"]["curves"]] == [name, f"eval/{name}"]
