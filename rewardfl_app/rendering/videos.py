"""Rendering: from a batch of clips and noise to frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.models import sampling, vae_stream

if TYPE_CHECKING:
    from rewardfl_app.models.sampling import Grid
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.clips import Batch

# First parts of the keys that noise is derived from, so that no two purposes ever share noise.
TRAINING_NOISE = 0
ANCHOR_NOISE = 1
EVALUATION_NOISE = 2


@torch.no_grad()
def render(
    model: WanModel,
    grid: Grid,
    batch: Batch,
    latents: Tensor,
    start: int = 0,
    before_step: Callable[[int], None] = lambda step: None,
) -> Tensor:
    """Frames [B, 3, T, H, W], RGB clamped to [-1, 1], float32, from latents [B, 16, T', h, w] before step `start`: the
    noise, or what `Prefixes` gives.

    `before_step` is told each denoising step that begins, and at last their number, when the decoder begins; what it
    raises ends the rendering.
    """
    predicted = sampling.velocities(model.experts, grid, batch.text, batch.condition)

    def velocity(step: int, x: Tensor) -> Tensor:
        before_step(step)
        return predicted(step, x)

    final = sampling.rollout(velocity, latents.to(model.device), grid, start=start)[-1]
    before_step(grid.num_steps)
    return vae_stream.decode_all(model.vae, final).clamp(-1, 1)


def evaluation_key(seed: int, index: int) -> tuple[int, ...]:
    """The key of the noise of evaluation video `index` (from 0)."""
    return EVALUATION_NOISE, seed, index


def evaluation_noise(seed: int, index: int, shape: tuple[int, ...]) -> Tensor:
    """The noise of evaluation video `index` (from 0): float32 on the CPU, the same whatever the batch it is rendered
    in."""
    return sampling.seeded_noise(shape, *evaluation_key(seed, index))
