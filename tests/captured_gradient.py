"""The gradient that reaches the optimizer, and the same gradient from the straightforward implementation.

A run makes one ordinary update, so that no trained value is zero any more, and saves. Then it goes on with an optimizer
that moves every value by RATE times its gradient: far enough that the difference between the two checkpoints is the
gradient to float32's last digits, whatever DeepSpeed made of parameters, processes and partitions on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from brightness_trainer import BrightnessScorer
from safetensors.torch import load_file
from torch import Tensor

from rewardfl_app.bench.straightforward import Straightforward
from rewardfl_app.config import files, schedule
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset, Order
from rewardfl_app.models import lora, sampling, wan
from rewardfl_app.rendering.videos import TRAINING_NOISE
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training.__main__ import main

RATE = 1e6


@contextmanager
def plain_descent() -> Iterator[None]:
    """Inside, AdamW is p -= RATE * gradient, of the class DeepSpeed knows."""
    real = torch.optim.AdamW.step

    @torch.no_grad()
    def step(self: torch.optim.AdamW, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-RATE)

    torch.optim.AdamW.step = step  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.optim.AdamW.step = real  # type: ignore[method-assign]


def train_two_steps(run: RunFolder) -> int:
    """One ordinary update, then one that shows its gradient; returns the trainer's exit code."""
    config = files.load(run.config)
    files.dump(_with_steps(config, 1), run.config)
    code = main([str(run.path)])
    files.dump(_with_steps(config, 2), run.config)
    if code:
        return code
    with plain_descent():
        return main([str(run.path)])


def _with_steps(config: Config, steps: int) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"max_steps": steps})})


def settings(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings for `train_two_steps`: no clipping, little evaluation, reward and divergence of like weight."""
    base: dict[str, dict[str, Any]] = {
        "train": {"save_steps": 1, "learning_rate": 0.05, "max_grad_norm": 1e9},
        "evaluation": {"eval_steps": 100, "num_samples": 1},
        "reward": {"reward_weight": 2.0, "kl_weight": 0.05},
    }
    return {name: {**base.get(name, {}), **changes.get(name, {})} for name in {*base, *changes}}


def captured(run: RunFolder) -> dict[str, Tensor]:
    """The gradient of the second update, by expert and key."""
    before, after = (_trained(run, step) for step in (1, 2))
    return {key: (before[key] - after[key]) / RATE for key in before}


def straightforward(run: RunFolder) -> dict[str, Tensor]:
    """The same gradient from one autograd graph over the whole update."""
    config = files.load(run.config)
    model = wan.load(config.model)
    names = schedule.trained_experts(config)
    folder = checkpoints.find(run, 1).path
    for expert in names:
        settings = config.lora
        lora.add(model.experts[expert], settings.lora_target_modules, settings.lora_rank, settings.lora_alpha, seed=0)
        lora.load(model.experts[expert], lora.checkpoint_file(folder, expert))
    experts = [model.experts[name] for name in names]
    plain = Straightforward(model, config, brightness, lambda: lora.disabled(experts))
    clips, noise = second_batch(config)
    references = [BrightnessScorer().reference(clip) for clip in clips]
    plain.loss(clips, references, noise).backward()
    return {f"{name}/{key}": value for name in names for key, value in _gradients(model.experts[name]).items()}


def brightness(video: Tensor, references: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """The reward of brightness_trainer.py, as a function."""
    return torch.tanh(video[:, :, 1:]).flatten(1).mean(1), torch.ones(len(video), dtype=torch.bool)


def second_batch(config: Config) -> tuple[list[Any], Tensor]:
    """Clips and noise of the second update, whatever the number of processes."""
    size = config.train.train_batch_size
    data = ClipDataset.of(manifest.read(Path(config.data.metadata_path or "")), config)
    clips = [data[row] for row in Order(len(data), config.train.seed).take(size, size)]
    shape = (16, (config.data.num_frames - 1) // 4 + 1, clips[0].size[1] // 8, clips[0].size[2] // 8)
    keys = [(TRAINING_NOISE, config.train.seed, 1, slot) for slot in range(size)]
    return clips, torch.stack([sampling.seeded_noise(shape, *key) for key in keys])


def relative_error(got: dict[str, Tensor], want: dict[str, Tensor]) -> float:
    """|got - want| / |want| over all trained values together."""
    assert set(got) == set(want)
    wanted = torch.cat([want[key].flatten() for key in sorted(want)]).double()
    assert wanted.norm() > 0
    return float((torch.cat([got[key].flatten() for key in sorted(want)]).double() - wanted).norm() / wanted.norm())


def _trained(run: RunFolder, step: int) -> dict[str, Tensor]:
    folder = checkpoints.find(run, step).path
    return {
        f"{file.stem}/{key}": value for file in folder.glob("*_noise.safetensors") for key, value in load_file(file).items()
    }


def _gradients(expert: Any) -> dict[str, Tensor]:
    """The gradients of a LoRA under the names of its checkpoint."""
    for parameter in lora.trainable_parameters(expert):
        assert parameter.grad is not None
        parameter.data = parameter.grad
    return lora.state_dict(expert)
