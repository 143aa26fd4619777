"""The evaluation during training: paired changes, the alarm, the best step, and the baseline that is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from brightness_trainer import BrightnessScorer
from torch import Tensor

from rewardfl_app.rendering import evaluation_set
from rewardfl_app.rendering.scoring import ClipReference, Measurement, Scorer
from rewardfl_app.runs import best, checkpoints, metrics, video_values
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.status import read_status
from rewardfl_app.training.__main__ import main

MakeRun = Callable[..., RunFolder]
CLOCKS = {"time", "step_seconds", "peak_memory_gb"}


class JudgedBrightness(BrightnessScorer):
    """Has a judge that agrees with the reward, or wants the opposite."""

    agreement = 1.0

    def measure(self, video: Tensor, references: Sequence[ClipReference]) -> list[Measurement]:
        measured = super().measure(video, references)
        return [
            replace(each, judged=replace(each.judged, judge=self.agreement * float(each.result.reward), motion=5.0))
            for each in measured
        ]


@pytest.fixture(autouse=True)
def scorer(monkeypatch: pytest.MonkeyPatch) -> JudgedBrightness:
    scorer = JudgedBrightness()
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": scorer)
    return scorer


def train(run: RunFolder) -> int:
    return main([str(run.path)])


def records(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in CLOCKS} for r in metrics.read_all(run.metrics)]


def evaluations(run: RunFolder) -> list[dict[str, Any]]:
    return [record for record in records(run) if metrics.is_evaluation(record)]


def kinds(run: RunFolder) -> list[str]:
    return [event["kind"] for event in read_events(run)]


def test_changes_are_those_of_the_same_videos(make_run: MakeRun) -> None:
    run = make_run("whole")
    assert train(run) == 0
    base, *_, last = evaluations(run)
    assert "eval/reward_gain" not in base and base["eval/alarm"] == 0
    before, after = video_values.read(run, 0), video_values.read(run, 4)
    assert before is not None and after is not None and list(before) == list(after)
    changes = [(after[name].measures["reward"] or 0) - (before[name].measures["reward"] or 0) for name in before]
    assert last["eval/reward_gain"] == pytest.approx(sum(changes) / 3)
    assert last["eval/reward_baseline"] == base["eval/reward"]
    assert last["eval/reward_gain_low"] < min(max(changes), last["eval/reward_gain"]) < last["eval/reward_gain_high"]
    assert last["eval/judge_gain"] == pytest.approx(last["eval/reward_gain"]) and last["eval/motion_gain"] == 0


def test_the_best_step_is_saved_whatever_save_steps_says(make_run: MakeRun) -> None:
    run = make_run("best", train={"save_steps": 100, "max_steps": 3}, evaluation={"eval_steps": 1})
    assert train(run) == 0
    chosen = best.read(run)
    assert chosen is not None and chosen.step == best.choose(evaluations(run)).step  # type: ignore[union-attr]
    assert checkpoints.find(run, "best").step == chosen.step
    gains = {record["step"]: record["eval/judge_gain"] for record in evaluations(run)[1:]}
    assert gains[chosen.step] == max(gains.values()) > 0
    assert "alarm" not in kinds(run)


def test_a_judge_that_falls_raises_the_alarm(make_run: MakeRun, scorer: JudgedBrightness) -> None:
    scorer.agreement = -1.0
    run = make_run("hacking", train={"learning_rate": 0.1}, reward={"kl_weight": 0.0})
    assert train(run) == 0
    on = [record["step"] for record in evaluations(run) if record["eval/alarm"]]
    assert on and on[-1] == 4
    status = read_status(run)
    assert status is not None and status.state == "completed"
    assert status.alarm is not None and "never trained on" in status.alarm
    raised = [event for event in read_events(run) if event["kind"] == "alarm"]
    assert raised[0]["step"] == on[0] and raised[0]["reasons"] == ["judge"] and raised[0]["since"] <= on[0]
    assert best.read(run) is None
    with pytest.raises(checkpoints.CheckpointError, match="no best checkpoint"):
        checkpoints.find(run, "best")


def test_what_is_worked_out_is_the_same_after_a_crash(make_run: MakeRun, scorer: JudgedBrightness) -> None:
    changes: dict[str, Any] = {"evaluation": {"eval_steps": 1}, "train": {"max_steps": 3, "save_steps": 2}}
    whole, killed = make_run("whole", **changes), make_run("killed", **changes)
    assert train(whole) == 0
    measure = scorer.measure
    calls = []

    def fail(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:  # the kept baseline takes none, each evaluation two
            raise RuntimeError("power cut")
        return measure(*given)

    scorer.measure = fail  # type: ignore[method-assign]
    assert train(killed) == 1
    assert train(killed) == 0
    assert records(killed) == records(whole)
    assert best.read(killed) == best.read(whole)


def test_a_second_run_takes_the_baseline_that_is_kept(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    render = evaluation_set.render
    monkeypatch.setattr(evaluation_set, "render", lambda *a, **k: rendered.append(1) or render(*a, **k))
    first, second, off = make_run("first"), make_run("second"), make_run("off", data={"cache_gb": 0})
    assert train(first) == 0
    for_one_run = len(rendered)
    assert train(second) == 0
    assert len(rendered) == for_one_run + 4, "two batches at each of two evaluations, none for the baseline"
    assert train(off) == 0 and len(rendered) == 2 * for_one_run + 4
    assert records(first) == records(second) == records(off)
    for part in ("baseline", "reference"):
        mine, theirs = (
            {path.relative_to(run.samples): path.read_bytes() for path in (run.samples / part).rglob("*.*")}
            for run in (first, second)
        )
        assert mine == theirs and len(mine) >= 6
    assert "rendered the same" in next(e["message"] for e in read_events(second) if e["kind"] == "baseline")
    assert not list(second.path.glob(".baseline*"))
