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
from rewardfl_app.data.dataset import Clip, ClipDataset, Order
from rewardfl_app.models import sampling, wan
from rewardfl_app.models.adaptation import adapt, checkpoint_file, untrained
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


def straightforward(run: RunFolder, faceless: Sequence[int] = ()) -> dict[str, Tensor]:
    """The same gradient from one autograd graph over the whole update; the slots in `faceless` have no reward."""
    config = files.load(run.config)
    model = wan.load(config.model)
    adaptations = {name: adapt(model.experts[name], config, seed=0) for name in schedule.trained_experts(config)}
    for name, adaptation in adaptations.items():
        adaptation.load(checkpoint_file(checkpoints.find(run, 1).path, name))
    clips, noise = second_batch(config)
    counted = torch.tensor([slot not in faceless for slot in range(len(clips))])

    def score(video: Tensor, references: Sequence[Any]) -> tuple[Tensor, Tensor]:
        return torch.tanh(video[:, :, 1:]).flatten(1).mean(1), counted

    plain = Straightforward(model, config, score, lambda: untrained(adaptations.values()))
    plain.loss(clips, [BrightnessScorer().reference(clip) for clip in clips], noise).backward()
    return {
        f"{name}/{key}": torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, adaptation in adaptations.items()
        for key, parameter in adaptation.named_parameters().items()
    }


def second_batch(config: Config) -> tuple[list[Clip], Tensor]:
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
        f"{file.stem}/{key}": value
        for file in folder.glob("*_noise.safetensors")
        for key, value in load_file(file).items()
    }
