"""The gradient through the last steps of sampling, one step's graph at a time.

Euler sampling factorises (../shared notation: x_i before step i, v_i = v(x_i), delta_i = sigma_{i+1} - sigma_i):

    lambda_N = dL/dx_N
    dL/dtheta += delta_i (dv_i/dtheta)^T lambda_{i+1} + (KL term of step i)
    lambda_i   = lambda_{i+1} + alpha delta_i (dv_i/dx)^T lambda_{i+1}

so each step is run again with a graph, pulled back, and its graph is freed: activation memory does not grow with the
number of steps. With `Plan.keep_graphs` the graphs of that many are kept from sampling on: they do not run twice, and
what their divergence is measured from is computed for all of them together. alpha = 1 is the exact gradient, alpha = 0
treats the input of every step as a constant. Steps that carry no gradient are passed over: lambda_i = lambda_{i+1}. All
modes of `gradient_plan` are this one loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rewardfl_app.models import lora_linear
from rewardfl_app.models.sampling import Velocity, euler_step, noise_level
from rewardfl_app.training.gradient_plan import Plan
from rewardfl_app.training.losses import divergence

# Accumulates the gradient of a scalar in the trained parameters. Called plan.num_backwards times per batch, in a fixed
# order.
Backward = Callable[[Tensor], None]
# The velocities of several steps of which none needs the one before: (steps, the latents entering each) -> one of each.
Velocities = Callable[[Sequence[int], Sequence[Tensor]], list[Tensor]]


@dataclass
class Forward:
    """What sampling left behind: the latents entering each gradient step, the final ones, the KL summed so far [B], and
    the velocities of the gradient steps whose graph was kept, which reaches back to those latents."""

    inputs: dict[int, Tensor]
    final: Tensor
    kl: Tensor
    velocities: dict[int, Tensor] = field(default_factory=dict)


def sample(
    velocity: Velocity,
    references: Velocities,
    start_latents: Tensor,
    plan: Plan,
    backward: Backward,
    *,
    start: int,
    scale: float,
) -> Forward:
    """Runs the steps from `start`, without a graph except on those whose graph is kept, and on KL-only steps.

    The latter need their velocity with a graph anyway: their gradient is taken on the way, so the KL costs no second
    forward pass of the trained network there.

    Args:
        velocity, references: the trained network, and the same network without what is trained (called without
        gradient).
        start_latents: x_start [B, 16, T, h, w].
        scale: what each sample's loss is multiplied by, 1 / (number of samples that this process's update is made of).
    """
    x = start_latents
    forward = Forward({}, x, x.new_zeros(x.shape[0]))
    for step in range(start, plan.grid.num_steps):
        if step in plan.steps:
            forward.inputs[step] = _leaf(step, x, plan)
        if step in plan.kept:
            with torch.enable_grad():
                forward.velocities[step] = velocity(step, forward.inputs[step])
            v = forward.velocities[step].detach()
        elif step in plan.kl_only:
            with torch.enable_grad():
                v = velocity(step, x)
                penalty = _penalty(step, v, _constant(references, [step], {step: x})[0], plan)
                backward(scale * plan.kl_weight * penalty.sum())
            forward.kl += penalty.detach()
            v = v.detach()
        else:
            with torch.no_grad():
                v = velocity(step, x)
        x = euler_step(x, v, plan.grid.delta(step))
    forward.final = x
    return forward


def renoised(velocity: Velocity, forward: Forward, noise: Tensor, plan: Plan) -> Forward:
    """The last step taken once more from a new noising of the finished video (DRaFT-LV); its KL starts at 0.

    Args:
        forward: what `sample` left behind. noise: standard normal [B, 16, T, h, w].
    """
    last = plan.grid.num_steps - 1
    x = noise_level(forward.final, noise, plan.grid.sigmas[last])
    with torch.no_grad():
        final = euler_step(x, velocity(last, x), plan.grid.delta(last))
    return Forward({last: x}, final, torch.zeros_like(forward.kl))


def pull_back(
    velocity: Velocity,
    references: Velocities,
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
    measured = [step for step in plan.kept if step in plan.kl_steps]
    bases = dict(zip(measured, _constant(references, measured, forward.inputs), strict=True))
    for step in reversed(plan.steps):
        x, v = forward.inputs[step], forward.velocities.pop(step, None)
        carried = None
        with torch.enable_grad():
            if v is None:
                x = _leaf(step, x, plan)
                v = velocity(step, x)
            surrogate = plan.grid.delta(step) * (v * adjoint).sum()
            if step in plan.kl_steps:
                base = bases.pop(step) if step in bases else _constant(references, [step], forward.inputs)[0]
                penalty = _penalty(step, v, base, plan)
                kl += penalty.detach()
                if plan.carries(step) and not plan.kl_through_x:
                    with lora_linear.inputs_alone():
                        (carried,) = torch.autograd.grad(surrogate, x, retain_graph=True)
                surrogate = surrogate + scale * plan.kl_weight * penalty.sum()
            backward(surrogate)
        if plan.carries(step):
            carried = x.grad if carried is None else carried
            assert carried is not None  # x is a leaf of the graph that was just pulled back
            adjoint = adjoint + plan.alpha * carried
    return kl


def _leaf(step: int, x: Tensor, plan: Plan) -> Tensor:
    """The latents entering a step, to be pulled back to where its gradient flows on."""
    return x.detach().requires_grad_(plan.carries(step))


def _penalty(step: int, velocity: Tensor, reference: Tensor, plan: Plan) -> Tensor:
    """What a step adds to the KL of each sample [B]."""
    return divergence(velocity, reference, plan.grid.sigmas[step]) / len(plan.kl_steps)


@torch.no_grad()
def _constant(references: Velocities, steps: Sequence[int], latents: Mapping[int, Tensor]) -> list[Tensor]:
    return references(steps, [latents[step].detach() for step in steps]) if steps else []
