"""What is trained, through the real trainer: all weights or a LoRA, with dropout, with a running mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from brightness_trainer import BrightnessScorer
from safetensors.torch import load_file
from torch import nn

from rewardfl_app.config.schema import Expert
from rewardfl_app.inference import session
from rewardfl_app.models import wan
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, control, metrics
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training.__main__ import main
from rewardfl_app.training.ema import Ema
from rewardfl_app.training.step import TrainingStep

MakeRun = Callable[..., RunFolder]
SHORT = {"max_steps": 3, "save_steps": 3}
SELDOM = {"eval_steps": 3, "num_samples": 1}
FULL = {"lora_base_model": "none"}


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


def train(run: RunFolder) -> None:
    assert main([str(run.path)]) == 0


def train_in_halves(run: RunFolder, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops with a checkpoint after update `after`, then goes on to the end."""
    update = TrainingStep.update

    def asking(self: TrainingStep, samples: Any, step: int, rate: float) -> Any:
        values = update(self, samples, step, rate)
        if step == after:
            control.request(run, "stop_and_save")
        return values

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "update", asking)
        train(run)
    train(run)


def saved(run: RunFolder, name: str, step: int = 3) -> dict[str, torch.Tensor]:
    return load_file(checkpoints.find(run, step).path / f"{name}.safetensors")


def curve(run: RunFolder) -> list[dict[str, Any]]:
    clocks = {"time", "step_seconds", "peak_memory_gb"}
    return [{k: v for k, v in r.items() if k not in clocks} for r in metrics.read_all(run.metrics)]


def assert_same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert set(got) == set(want)
    assert all(torch.equal(got[key], want[key]) for key in want)


@pytest.mark.parametrize(
    ("models", "experts", "mid"),
    [("dit2", ["low_noise"], 2), ("dit", ["high_noise"], 1), ("dit,dit2", ["high_noise", "low_noise"], 1)],
)
def test_all_weights_train_with_a_divergence_from_their_frozen_copy(
    make_run: MakeRun, models: str, experts: list[Expert], mid: int
) -> None:
    run = make_run(
        "full",
        model={"trainable_models": models, "offload_reference": models == "dit2"},
        sampling={"mid_timestep": mid, "final_timestep": 1 if models == "dit" else 3},
        lora=FULL,
        train={**SHORT, "learning_rate": 1e-3},
        evaluation=SELDOM,
    )
    train(run)
    steps = [record for record in curve(run) if "loss" in record]
    assert steps[0]["kl"] == 0 and steps[-1]["kl"] > 0
    original = wan.load(session.load(run, "base").config.model)
    rendered = session.load(run, "latest").model
    for name in experts:
        tensors = saved(run, name)
        assert {key: value.shape for key, value in tensors.items()} == {
            key: value.shape for key, value in original.experts[name].named_parameters()
        }
        for key, value in original.experts[name].named_parameters():
            assert not torch.equal(tensors[key], value), key
        assert_same(dict(rendered.experts[name].named_parameters()), tensors)


@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.parametrize("lora", [{"lora_rank": 2, "lora_dropout": 0.3}, FULL])
def test_stopped_and_resumed_equals_uninterrupted(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, stage: int, lora: dict[str, Any]
) -> None:
    changes = {
        "lora": lora,
        "train": {**SHORT, "ema_decay": 0.6, "learning_rate": 1e-3},
        "evaluation": SELDOM,
        "deepspeed": {"zero_stage": stage, "offload_optimizer": stage == 2, "offload_parameters": stage == 3},
        "model": {"use_gradient_checkpointing": True},
    }
    whole, halves = make_run("whole", **changes), make_run("halves", **changes)
    train(whole)
    train_in_halves(halves, 2, monkeypatch)
    assert curve(halves) == curve(whole)
    for name in ("low_noise", "low_noise.trained", "low_noise.exp_avg", "low_noise.exp_avg_sq"):
        assert_same(saved(halves, name), saved(whole, name))


def test_dropout_changes_the_training_alone(make_run: MakeRun) -> None:
    changes = {"train": {**SHORT, "max_steps": 2}, "evaluation": SELDOM}
    plain = make_run("plain", **changes)
    left_out = make_run("left_out", lora={"lora_rank": 2, "lora_dropout": 0.5}, **changes)
    train(plain)
    train(left_out)
    first, second = curve(plain), curve(left_out)
    assert first[0] == second[0]  # the base model
    assert first[1]["grad_norm"] != second[1]["grad_norm"]


def test_the_mean_is_what_is_evaluated(make_run: MakeRun) -> None:
    changes = {"train": SHORT, "evaluation": SELDOM}
    plain, mean = make_run("plain", **changes), make_run("mean", **{**changes, "train": {**SHORT, "ema_decay": 0.9}})
    train(plain)
    train(mean)
    assert_same(saved(mean, "low_noise.trained"), saved(plain, "low_noise"))
    assert not torch.equal(*(saved(run, "low_noise")[key] for run in (mean, plain) for key in [KEY]))
    steps = [[record for record in curve(run) if "loss" in record] for run in (plain, mean)]
    assert steps[0] == steps[1]
    evaluations = [[record["eval/reward"] for record in curve(run) if "eval/reward" in record] for run in (plain, mean)]
    assert evaluations[0][0] == evaluations[1][0] and evaluations[0][1] != evaluations[1][1]
    assert not (checkpoints.find(plain, 3).path / "low_noise.trained.safetensors").exists()


KEY = "transformer.blocks.0.attn1.to_q.lora_B.weight"


class _Held:
    """Undivided parameters, as without ZeRO 3."""

    def values(self, parameter: nn.Parameter) -> torch.Tensor:
        return parameter.data

    def given_up(self) -> None:
        pass


def test_the_mean_is_first_a_plain_one_and_then_exponential() -> None:
    parameter = nn.Parameter(torch.tensor([100.0]))
    ema = Ema([parameter], _Held(), decay=0.75)  # type: ignore[arg-type]
    values = [1.0, 2.0, 6.0, 3.0, 10.0]
    means = []
    for step, value in enumerate(values, start=1):
        parameter.data.fill_(value)
        ema.update(step)
        means.append(float(ema.mean(parameter)))
    assert means == pytest.approx([1.0, 1.5, 3.0, 3.0, 0.75 * 3.0 + 0.25 * 10.0])
    with ema.applied():
        assert parameter.item() == pytest.approx(means[-1])
    assert parameter.item() == 10.0 and float(ema.mean(parameter)) == pytest.approx(means[-1])
