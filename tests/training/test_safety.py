"""What goes wrong with one sample, one step or one machine stays there, and is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from brightness_trainer import BrightnessScorer
from safetensors.torch import load_file

from rewardfl_app.data.dataset import Clip, ClipDataset
from rewardfl_app.data.errors import DataError
from rewardfl_app.rendering.reward_gradient import RewardGradient
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, metrics
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.training.__main__ import main
from rewardfl_app.training.engine import Engine
from rewardfl_app.training.samples import SampleSource

MakeRun = Callable[..., RunFolder]
# Rows 1 to 3 are the evaluation's; with this seed the first batch of four holds row 5.
BAD_ROW = 5


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> BrightnessScorer:
    scorer = BrightnessScorer()
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": scorer)
    return scorer


def train(run: RunFolder) -> int:
    return main([str(run.path)])


def steps_of(run: RunFolder) -> list[dict[str, Any]]:
    return [record for record in metrics.read_all(run.metrics) if "loss" in record]


def lora_of(run: RunFolder, step: int) -> dict[str, torch.Tensor]:
    return load_file(checkpoints.find(run, step).path / "low_noise.safetensors")


def break_rows(monkeypatch: pytest.MonkeyPatch, *bad: int) -> None:
    """These rows cannot be decoded, as when a file was damaged after the check at the start."""
    read = ClipDataset.__getitem__

    def broken(self: ClipDataset, index: int) -> Clip:
        if self.rows[index].index in bad:
            raise DataError(f"Row {self.rows[index].index}: the file is damaged")
        return read(self, index)

    monkeypatch.setattr(ClipDataset, "__getitem__", broken)


FOUR = {"train_batch_size": 4, "per_device_train_batch_size": 4, "max_steps": 3, "save_steps": 1}


def test_a_clip_that_cannot_be_used_is_left_out(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    break_rows(monkeypatch, BAD_ROW)
    run = make_run("damaged", train=FOUR)
    assert train(run) == 0
    left_out = [record.get("left_out") for record in steps_of(run)]
    assert set(left_out) <= {None, 1, 2} and any(left_out)
    events = [event for event in read_events(run) if event["kind"] == "left_out"]
    assert [event["row"] for event in events] == [BAD_ROW]  # told once, not at every update


def test_a_left_out_clip_changes_nothing_for_the_others(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, brightness: BrightnessScorer
) -> None:
    """The same first update as when its video shows no face and no divergence is measured: the others keep their
    weight."""
    changes = {"reward": {"kl_weight": 0.0}, "train": {**FOUR, "max_steps": 1, "max_grad_norm": 1e9}}
    with monkeypatch.context() as patch:
        break_rows(patch, BAD_ROW)
        damaged = make_run("damaged", **changes)
        assert train(damaged) == 0
    faceless = make_run("faceless", **changes)
    taken: list[int] = []
    take = SampleSource.take

    def noted(self: SampleSource, number: int) -> Any:
        samples = take(self, number)
        taken[:] = samples.rows
        brightness.faceless = {taken.index(BAD_ROW)}
        return samples

    monkeypatch.setattr(SampleSource, "take", noted)
    assert train(faceless) == 0
    assert BAD_ROW in taken
    first, second = steps_of(damaged)[0], steps_of(faceless)[0]
    assert first["left_out"] == 1 and second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)
    assert second["reward"] == pytest.approx(first["reward"], rel=1e-5)


def test_no_usable_clip_ends_the_run_with_the_reason(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, family: Path, tmp_path: Path
) -> None:
    table = tmp_path / "one.csv"
    table.write_text(f"video,prompt\n{family / 'clip5.mp4'},a woman\n", encoding="utf-8")
    run = make_run(
        "damaged", data={"metadata_path": str(table)}, evaluation={"metadata_path": str(family / "metadata.csv")}
    )
    read = ClipDataset.__getitem__

    def broken(self: ClipDataset, index: int) -> Clip:
        if self.rows[index].video.name == "clip5.mp4":
            raise DataError("Row 1: the file is damaged")
        return read(self, index)

    monkeypatch.setattr(ClipDataset, "__getitem__", broken)
    assert train(run) == 2
    failure = read_json(run.failure) or {}
    assert failure["cause"] == "bad_data" and "Row 1: the file is damaged" in failure["sentence"]


def test_memory_that_runs_out_is_known_before_the_baseline(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(RewardGradient, "of", full)
    run = make_run("large")
    assert train(run) == 1
    failure = read_json(run.failure) or {}
    assert failure["cause"] == "out_of_host_memory"
    assert "while decoding and scoring the videos" in failure["sentence"]
    assert not metrics.read_all(run.metrics)  # not even the baseline was rendered


def test_the_trial_step_leaves_no_trace(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, untried = make_run("tried"), make_run("untried")
    assert train(tried) == 0
    monkeypatch.setattr("rewardfl_app.training.trainer.Trainer._rehearse", lambda self, parts: None)
    assert train(untried) == 0
    for key, value in lora_of(untried, 4).items():
        assert torch.equal(value, lora_of(tried, 4)[key])


@pytest.mark.parametrize("stage", [0, 2])
def test_a_gradient_that_is_not_finite_changes_nothing(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    """The loss is a number, its gradient in the weights is not: the optimizer must not have moved."""
    run = make_run("broken", deepspeed={"zero_stage": stage}, train={"save_steps": 1})
    backward, stepped, calls = Engine.backward, Engine.step, 0

    def poisoned(self: Engine, surrogate: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        backward(self, surrogate * float("nan") if calls == 7 else surrogate)

    rates: list[float] = []
    monkeypatch.setattr(Engine, "backward", poisoned)
    monkeypatch.setattr(Engine, "step", lambda self, rate: (rates.append(rate), stepped(self, rate))[1])
    assert train(run) == 1
    failure = read_json(run.failure) or {}
    assert failure["cause"] == "non_finite_loss"
    assert "gradient became infinite or not a number at step" in failure["sentence"]
    assert "Nothing was changed" in failure["sentence"] and "first in" in failure["sentence"]
    done = len(steps_of(run))
    assert len(rates) == done  # the optimizer did not move for the step that failed
    monkeypatch.setattr(Engine, "backward", backward)
    assert train(run) == 0
    whole = make_run("whole", deepspeed={"zero_stage": stage}, train={"save_steps": 1})
    assert train(whole) == 0
    for key, value in lora_of(whole, 4).items():
        assert torch.equal(value, lora_of(run, 4)[key])


def test_a_loss_that_is_not_finite_names_the_row(make_run: MakeRun, brightness: BrightnessScorer) -> None:
    brightness.broken = True
    run = make_run("broken")
    assert train(run) == 1
    sentence = (read_json(run.failure) or {})["sentence"]
    assert "reward of row" in sentence and "Nothing was changed" in sentence
