"""The gradient through the last steps of sampling, one step's graph at a time.

Euler sampling factorises (../shared notation: x_i before step i, v_i = v(x_i), delta_i = sigma_{i+1} - sigma_i):

    lambda_N = dL/dx_N
    dL/dtheta += delta_i (dv_i/dtheta)^T lambda_{i+1} + (KL term of step i)
    lambda_i   = lambda_{i+1} + alpha delta_i (dv_i/dx)^T lambda_{i+1}

so each step is run again with a graph, pulled back, and its graph is freed: activation memory does not grow with the
number of steps.
alpha = 1 is the exact gradient, alpha = 0 treats the input of every step as a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.config import schedule
from rewardfl_app.models.sampling import Grid, Velocity, euler_step
from rewardfl_app.training.losses import divergence

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config

# Accumulates the gradient of a scalar in the trained parameters. Called plan.num_backwards times per batch, in a fixed
# order.
Backward = Callable[[Tensor], None]


@dataclass(frozen=True)
class Plan:
    """Which steps carry which gradient.

    `steps`: consecutive, ascending, up to the grid's last. `kl_steps`: where the divergence from the reference is
    measured, empty when it has no weight. `alpha`: how much of the gradient flows on to the step before, 0 to 1.
    `kl_through_x`: whether the divergence's gradient flows there too (through the trained velocity only).
    """

    grid: Grid
    steps: tuple[int, ...]
    kl_steps: tuple[int, ...] = ()
    alpha: float = 1.0
    kl_weight: float = 0.0
    kl_through_x: bool = False

    @classmethod
    def of(cls, config: Config) -> Plan:
        """The plan of a configuration."""
        reward = config.reward
        return cls(
            grid=Grid.of(config),
            steps=tuple(schedule.gradient_steps(config)),
            kl_steps=tuple(schedule.kl_steps(config)) if reward.kl_weight > 0 else (),
            alpha=config.sampling.gradient_decay,
            kl_weight=reward.kl_weight,
            kl_through_x=reward.kl_through_x,
        )

    @property
    def num_backwards(self) -> int:
        """Backward calls of one batch: the same on every rank, whatever was sampled."""
        return len(self.steps) + len(self.kl_only)

    @property
    def kl_only(self) -> tuple[int, ...]:
        """KL steps that do not carry the reward's gradient."""
        return tuple(step for step in self.kl_steps if step not in self.steps)


@dataclass
class Forward:
    """What sampling left behind: the latents entering each gradient step, the final ones, and the KL summed so far
    [B]."""

    inputs: dict[int, Tensor]
    final: Tensor
    kl: Tensor


def sample(
    velocity: Velocity,
    reference: Velocity,
    start_latents: Tensor,
    plan: Plan,
    backward: Backward,
    *,
    start: int,
    scale: float,
) -> Forward:
    """Runs the steps from `start`, without a graph except on KL-only steps, whose gradient is taken on the way.

    Those steps need their velocity with a graph anyway, so the KL costs no second forward pass of the trained network
    there.

    Args:
        velocity, reference: the trained network, and the same network without what is trained (called without
        gradient).
        start_latents: x_start [B, 16, T, h, w].
        scale: what the batch's mean loss is multiplied by, 1 / (number of batches that make up the update).
    """
    x = start_latents
    inputs: dict[int, Tensor] = {}
    kl = x.new_zeros(x.shape[0])
    for step in range(start, plan.grid.num_steps):
        if step in plan.steps:
            inputs[step] = x
        if step in plan.kl_only:
            with torch.enable_grad():
                v = velocity(step, x)
                penalty = divergence(v, _constant(reference, step, x), plan.grid.sigmas[step]) / len(plan.kl_steps)
                backward(scale * plan.kl_weight * penalty.mean())
            kl += penalty.detach()
            v = v.detach()
        else:
            v = _constant(velocity, step, x)
        x = euler_step(x, v, plan.grid.delta(step))
    return Forward(inputs, x, kl)


def pull_back(
    velocity: Velocity,
    reference: Velocity,
    forward: Forward,
    adjoint: Tensor,
    plan: Plan,
    backward: Backward,
    *,
    scale: float,
) -> Tensor:
    """Accumulates the gradient of all gradient steps, last first; returns KL per sample [B] over all KL steps.

    Args:
        adjoint: dL/dx_N [B, 16, T, h, w], already scaled as the loss is.
        scale: as in `sample`, for the KL term of these steps.
    """
    kl = forward.kl.clone()
    for step in reversed(plan.steps):
        carry = step > plan.steps[0] and plan.alpha > 0
        x = forward.inputs[step].detach().clone().requires_grad_(carry)
        with torch.enable_grad():
            v = velocity(step, x)
            surrogate = plan.grid.delta(step) * (v * adjoint).sum()
            if step in plan.kl_steps:
                penalty = divergence(v, _constant(reference, step, x), plan.grid.sigmas[step]) / len(plan.kl_steps)
                kl += penalty.detach()
                if carry and not plan.kl_through_x:
                    (carried,) = torch.autograd.grad(surrogate, x, retain_graph=True)
                    backward(surrogate + scale * plan.kl_weight * penalty.mean())
                    adjoint = adjoint + plan.alpha * carried
                    continue
                surrogate = surrogate + scale * plan.kl_weight * penalty.mean()
            backward(surrogate)
        if carry:
            assert x.grad is not None  # a leaf of the graph that was just pulled back
            adjoint = adjoint + plan.alpha * x.grad
    return kl


def _constant(velocity: Velocity, step: int, x: Tensor) -> Tensor:
    with torch.no_grad():
        return velocity(step, x.detach())
