"""The gradient through the last steps of sampling, one step's graph at a time.

Euler sampling factorises (../shared notation: x_i before step i, v_i = v(x_i), delta_i = sigma_{i+1} - sigma_i):

    lambda_N = dL/dx_N
    dL/dtheta += delta_i (dv_i/dtheta)^T lambda_{i+1} + (KL term of step i)
    lambda_i   = lambda_{i+1} + alpha delta_i (dv_i/dx)^T lambda_{i+1}

so each step is run again with a graph, pulled back, and its graph is freed: activation memory does not grow with the
number of steps. alpha = 1 is the exact gradient, alpha = 0 treats the input of every step as a constant. Steps that
carry no gradient are passed over: lambda_i = lambda_{i+1}. All modes of `gradient_plan` are this one loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardfl_app.models.sampling import Velocity, euler_step, noise_level
from rewardfl_app.training.gradient_plan import Plan
from rewardfl_app.training.losses import divergence

# Accumulates the gradient of a scalar in the trained parameters. Called plan.num_backwards times per batch, in a fixed
# order.
Backward = Callable[[Tensor], None]


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
        scale: what each sample's loss is multiplied by, 1 / (number of samples that this process's update is made of).
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
                backward(scale * plan.kl_weight * penalty.sum())
            kl += penalty.detach()
            v = v.detach()
        else:
            v = _constant(velocity, step, x)
        x = euler_step(x, v, plan.grid.delta(step))
    return Forward(inputs, x, kl)


def renoised(velocity: Velocity, forward: Forward, noise: Tensor, plan: Plan) -> Forward:
    """The last step taken once more from a new noising of the finished video (DRaFT-LV); its KL starts at 0.

    Args:
        forward: what `sample` left behind. noise: standard normal [B, 16, T, h, w].
    """
    last = plan.grid.num_steps - 1
    x = noise_level(forward.final, noise, plan.grid.sigmas[last])
    final = euler_step(x, _constant(velocity, last, x), plan.grid.delta(last))
    return Forward({last: x}, final, torch.zeros_like(forward.kl))


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
                    backward(surrogate + scale * plan.kl_weight * penalty.sum())
                    adjoint = adjoint + plan.alpha * carried
                    continue
                surrogate = surrogate + scale * plan.kl_weight * penalty.sum()
            backward(surrogate)
        if carry:
            assert x.grad is not None  # a leaf of the graph that was just pulled back
            adjoint = adjoint + plan.alpha * x.grad
    return kl


def _constant(velocity: Velocity, step: int, x: Tensor) -> Tensor:
    with torch.no_grad():
        return velocity(step, x.detach())
