"""Same seed, same result, to the last bit on a CPU: twice in a row, and stopped and continued at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from brightness_trainer import BrightnessScorer
from safetensors.torch import load_file
from torch import Tensor

from rewardfl_app.config import files
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, metrics
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training.__main__ import main

MakeRun = Callable[..., RunFolder]
# What a clock or the operating system says.
MEASURED = {"time", "step_seconds", "peak_memory_gb"}
STEPS = 4
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    # Everything that carries state from one step to the next.
    "everything": {
        "reward": {"anchor_weight": 0.1, "kl_target": 0.01},
        "train": {"num_train_epochs": 2, "ema_decay": 0.5, "lr_scheduler_type": "cosine", "warmup_steps": 1},
        "sampling": {"gradient_mode": "random_k", "prefix_seeds": 2, "decode_chunk": 1},
        "lora": {"lora_dropout": 0.2},
        "deepspeed": {"zero_stage": 2, "offload_optimizer": True},
    },
    "all weights": {"lora": {"lora_base_model": "none"}, "train": {"learning_rate": 1e-4, "ema_decay": 0.5}},
}


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


def make(make_run: MakeRun, name: str, settings: str) -> RunFolder:
    changes = {section: dict(values) for section, values in SETTINGS[settings].items()}
    changes["train"] = {"max_steps": STEPS, "save_steps": 1, **changes.get("train", {})}
    changes["evaluation"] = {"eval_steps": 3, "num_samples": 1}
    return make_run(name, **changes)


def train(run: RunFolder, until: int = STEPS) -> None:
    """Trains up to a step, as a run does that was stopped there: `until` changes nothing before it."""
    config = files.load(run.config)
    torch.manual_seed(until)
    with pytest.MonkeyPatch.context() as patch:
        if until < STEPS:
            _stop_at(patch, until)
        assert main([str(run.path)]) == 0
    assert files.load(run.config) == config


def _stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """The request to stop that a person would leave after this step."""
    from rewardfl_app.runs import control
    from rewardfl_app.training.trainer import Trainer

    ran = Trainer._one_step

    def one_step(self: Trainer, *parts: Any) -> None:
        ran(self, *parts)
        if self.reporter.step == step:
            control.request(self._run, "stop_and_save")

    patch.setattr(Trainer, "_one_step", one_step)


def result(run: RunFolder) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Every record without its times, and everything that the last checkpoint holds but the global random state, which
    nothing is drawn from: `train` begins each time with another."""
    records = [{k: v for k, v in r.items() if k not in MEASURED} for r in metrics.read_all(run.metrics)]
    folder = checkpoints.find(run, STEPS).path
    saved = [file for file in folder.glob("*.safetensors") if not file.stem.startswith("random")]
    tensors = {f"{file.stem}/{key}": value for file in saved for key, value in load_file(file).items()}
    return records, tensors


def assert_same(run: RunFolder, other: RunFolder) -> None:
    (records, tensors), (others, values) = result(run), result(other)
    assert records == others
    assert set(tensors) == set(values)
    assert [key for key in tensors if not torch.equal(tensors[key], values[key])] == []


@pytest.mark.parametrize("settings", SETTINGS)
def test_two_runs_and_a_run_stopped_after_every_step(make_run: MakeRun, settings: str) -> None:
    whole, again, halting = (make(make_run, name, settings) for name in ("whole", "again", "halting"))
    train(whole)
    train(again)
    assert_same(again, whole)
    for step in range(1, STEPS + 1):
        train(halting, until=step)
    assert_same(halting, whole)
