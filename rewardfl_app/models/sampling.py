"""Rectified-flow Euler sampling as pure functions of tensors.

x_{i+1} = x_i + (sigma_{i+1} - sigma_i) v(x_i, 1000 sigma_i); the latents stay in float32, the network's input is cast.
Owning these lines rather than using a scheduler avoids a shift that is applied twice, and keeps the gradient's
factorisation in sight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.config import schedule
from rewardfl_app.config.family import TEMPORAL_FACTOR
from rewardfl_app.models import threads
from rewardfl_app.models.precision import compute_dtype

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    from rewardfl_app.config.schema import Config, Expert

# velocity(step, x) -> v: the network of that step on latents [B, 16, T, h, w], float32 in and out
Velocity = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class Grid:
    """The steps that run: `sigmas[i]` before step i (one more entry than steps, the last 0) and the expert of each
    step.

    If sampling stops before the last step of the schedule, the final 0 turns that step into the prediction of the
    clean latents (x0_hat = x_i - sigma_i v), so what is decoded is never noisy.
    """

    sigmas: tuple[float, ...]
    experts: tuple[Expert, ...]

    @property
    def num_steps(self) -> int:
        return len(self.experts)

    def delta(self, step: int) -> float:
        """sigma_{step+1} - sigma_step, the (negative) length of a step."""
        return self.sigmas[step + 1] - self.sigmas[step]

    def until(self, step: int) -> Grid:
        """The grid whose last step is `step`, which then predicts the clean latents."""
        return Grid((*self.sigmas[: step + 1], 0.0), self.experts[: step + 1])

    @classmethod
    def of(cls, config: Config) -> Grid:
        """The grid of a configuration, up to its final_timestep."""
        steps = config.sampling.final_timestep + 1
        sigmas = schedule.sigmas(config.sampling.num_inference_steps, config.sampling.shift)[:steps]
        return cls((*sigmas, 0.0), tuple(schedule.step_experts(config)[:steps]))


def noise_level(clean: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """x_sigma = (1 - sigma) clean + sigma noise; `sigma` a number or [B, 1, 1, 1, 1]."""
    return (1 - sigma) * clean + sigma * noise


def euler_step(x: Tensor, velocity: Tensor, delta: float) -> Tensor:
    """x + delta v, in float32."""
    return x + delta * velocity


def rollout(velocity: Velocity, noise: Tensor, grid: Grid, *, start: int = 0, stop: int | None = None) -> list[Tensor]:
    """Latents before every step from `start`, and after the last: [x_start, ..., x_stop], each [B, 16, T, h, w].

    Args:
        noise: x_start, float32; standard normal when start is 0.
        stop: the step not to run any more; None runs the whole grid.
    """
    latents = [noise]
    for step in range(start, grid.num_steps if stop is None else stop):
        latents.append(euler_step(latents[-1], velocity(step, latents[-1]), grid.delta(step)))
    return latents


def predict_velocity(
    expert: WanTransformer3DModel, x: Tensor, sigma: float | Tensor, text: Tensor, condition: Tensor
) -> Tensor:
    """The transformer's velocity (noise - clean), float32 [B, C, T, h, w].

    Args:
        x: noisy latents [B, C, T, h, w], float32.
        sigma: noise level in (0, 1], one number or one per sample [B]; the network sees 1000 sigma.
        text: [B, L, D]. condition: mask and condition latents [B, 4 + C, T, h, w].
    """
    dtype = compute_dtype(expert)
    sigmas = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(x.shape[0])
    if expert.config["in_channels"] == expert.config["out_channels"]:
        return _velocity_around_given(expert, x, sigmas, text, condition)
    hidden = torch.cat([x, condition.to(x.dtype)], dim=1).to(dtype)
    return expert(
        hidden_states=hidden, timestep=1000.0 * sigmas, encoder_hidden_states=text.to(dtype), return_dict=False
    )[0].float()


def _velocity_around_given(
    expert: WanTransformer3DModel, x: Tensor, sigmas: Tensor, text: Tensor, condition: Tensor
) -> Tensor:
    """The velocity where the network sees the given frames themselves, as tokens without noise (Wan2.2-TI2V-5B).

    Theirs is the one that leads to them, v = (x - given) / sigma, so every sampler and every loss treats them as it
    should without knowing of them: the last step ends in them, and no gradient comes back.
    """
    dtype, (_, rows, columns) = compute_dtype(expert), expert.config["patch_size"]
    given = condition[:, :1].to(x.dtype)  # 1 where a frame is given: all four frames of a latent frame are, or none
    frames = condition[:, TEMPORAL_FACTOR:].to(x.dtype)
    hidden = torch.where(given > 0, frames, x).to(dtype)
    times = 1000.0 * sigmas[:, None] * (1 - given[:, 0, :, ::rows, ::columns]).flatten(1).float()
    v = expert(hidden_states=hidden, timestep=times, encoder_hidden_states=text.to(dtype), return_dict=False)[0].float()
    return torch.where(given > 0, (x - frames) / sigmas.view(-1, 1, 1, 1, 1), v)


def velocities(
    experts: Mapping[Expert, WanTransformer3DModel], grid: Grid, text: Tensor, condition: Tensor
) -> Velocity:
    """The velocity function of one batch: the expert of each step, with the batch's text [B, L, D] and condition [B,
    4 + C, T, h, w]."""

    def velocity(step: int, x: Tensor) -> Tensor:
        expert = experts[grid.experts[step]]
        with threads.suited_to(expert, x):
            return predict_velocity(expert, x, grid.sigmas[step], text, condition)

    return velocity


def velocities_together(
    experts: Mapping[Expert, WanTransformer3DModel],
    grid: Grid,
    text: Tensor,
    condition: Tensor,
    steps: Sequence[int],
    latents: Sequence[Tensor],
) -> list[Tensor]:
    """The velocities of several steps of one expert, at the latents [B, C, T, h, w] that enter each, as one batch."""
    number, batch = len(steps), len(text)
    sigmas = torch.tensor([grid.sigmas[step] for step in steps], device=text.device).repeat_interleave(batch)
    expert, x = experts[grid.experts[steps[0]]], torch.cat(list(latents))
    with threads.suited_to(expert, x):
        v = predict_velocity(expert, x, sigmas, text.repeat(number, 1, 1), condition.repeat(number, 1, 1, 1, 1))
    return list(v.split(batch))


def seeded_noise(shape: Sequence[int], *key: int) -> Tensor:
    """Standard normal float32 noise of `shape` on the CPU, the same for the same key on every machine and in every
    layout of ranks.

    The key is a few non-negative integers, for example (seed, batch, sample); nearby keys give unrelated noise.
    """
    return torch.randn(tuple(shape), generator=seeded_generator(*key), dtype=torch.float32)


def seeded_generator(*key: int) -> torch.Generator:
    """A CPU generator seeded by a few non-negative integers; the global random state is not touched."""
    mixed = 0x9E3779B97F4A7C15
    for part in key:
        # splitmix64: consecutive keys end far apart, which adding them up would not do
        mixed = (mixed ^ (part & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed & 0x7FFFFFFFFFFFFFFF)
