"""Curves of several runs over each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_run import FakeRun

from rewardfl_app.ui.run_curves import DEFAULT, NUM_RUNS, curves, title


def _run(runs_dir: Path, name: str, steps: int = 20) -> FakeRun:
    run = FakeRun(runs_dir, name, total=steps, prompts=("one",))
    run.baseline()
    for step in range(1, steps + 1):
        run.step(step)
    run.evaluate(steps)
    return run


def test_one_chart_for_each_value_and_one_line_for_each_run(tmp_path: Path) -> None:
    one, two = _run(tmp_path, "one"), _run(tmp_path, "two", 30)
    found = curves([one.folder, two.folder])
    assert [chart["key"] for chart in found["charts"]] == list(DEFAULT)
    judge = found["charts"][1]
    assert judge["title"] == "Judge" and [line["run"] for line in judge["series"]] == [one.folder.id, two.folder.id]
    assert [line["x"] for line in judge["series"]] == [[0.0, 20.0], [0.0, 30.0]]
    assert judge["series"][0]["y"][0] == pytest.approx(0.74)


def test_the_reader_chooses_what_is_drawn(tmp_path: Path) -> None:
    run = _run(tmp_path, "one")
    found = curves([run.folder], ["loss", "nothing of the kind"])
    assert [chart["key"] for chart in found["charts"]] == ["loss"]
    assert {"reward", "eval/reward", "loss", "kl", "learning_rate"} <= {choice["key"] for choice in found["choices"]}
    assert curves([run.folder], [])["charts"] == []


def test_a_run_that_goes_on_is_read_on(tmp_path: Path) -> None:
    run = _run(tmp_path, "one", 5)
    assert len(curves([run.folder], ["loss"])["charts"][0]["series"][0]["x"]) == 5
    run.step(6)
    assert curves([run.folder], ["loss"])["charts"][0]["series"][0]["x"][-1] == 6


def test_intervals_go_with_the_line(tmp_path: Path) -> None:
    run = _run(tmp_path, "one")
    gain = {"eval/reward_gain": 0.1, "eval/reward_gain_low": 0.05, "eval/reward_gain_high": 0.15}
    run.metrics.append({"step": 21, "time": 1.0, "eval/reward": 0.78, "eval/reward_baseline": 0.68, **gain})
    low, high = curves([run.folder], ["eval/reward"])["charts"][0]["series"][0]["band"]
    assert low[-1] == pytest.approx(0.73) and high[-1] == pytest.approx(0.83) and low[0] is None


def test_no_more_runs_than_there_are_colours(tmp_path: Path) -> None:
    runs = [_run(tmp_path, str(number), 2).folder for number in range(NUM_RUNS + 2)]
    assert len(curves(runs, ["loss"])["charts"][0]["series"]) == NUM_RUNS


def test_values_that_no_chart_knows_have_a_readable_name() -> None:
    assert title("eval/reward/my_rewards:Steady") == "Reward: my rewards:Steady, evaluation"
    assert title("loss") == "Loss"
