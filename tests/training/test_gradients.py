"""The step-wise gradient against one autograd graph over all steps, written as plainly as the equations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest
import tiny_wan
import torch
from torch import Tensor

from rewardfl_app.models import lora, sampling, wan
from rewardfl_app.models.sampling import Grid
from rewardfl_app.training import gradients
from rewardfl_app.training.gradient_plan import Plan

NUM_STEPS = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> wan.WanModel:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_wan.save(folder)
    loaded = wan.load(tiny_wan.model_config(folder))
    for seed, expert in enumerate(loaded.experts.values()):
        lora.add(expert, ("q", "k", "v", "o", "ffn.0", "ffn.2"), rank=2, alpha=None, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in lora.trainable_parameters(expert):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return loaded


class Problem:
    """Two samples, and a smooth loss on the final latents that differs per sample."""

    def __init__(self, model: wan.WanModel, plan: Plan) -> None:
        generator = torch.Generator().manual_seed(3)
        self.plan = plan
        self.noise = torch.randn(2, 16, 2, 4, 4, generator=generator)
        self.weight = torch.randn(2, 16, 2, 4, 4, generator=generator)
        text, condition = (torch.randn(2, *shape, generator=generator) for shape in ((16, 16), (20, 2, 4, 4)))
        self.experts = list(model.experts.values())
        self.velocity = sampling.velocities(model.experts, plan.grid, text, condition)
        self.parameters = [p for expert in self.experts for p in lora.trainable_parameters(expert)]

    def reference(self, step: int, x: Tensor) -> Tensor:
        with lora.disabled(self.experts):
            return self.velocity(step, x)

    def references(self, steps: Sequence[int], latents: Sequence[Tensor]) -> list[Tensor]:
        return [self.reference(step, x) for step, x in zip(steps, latents, strict=True)]

    def loss(self, final: Tensor) -> Tensor:
        """Per sample [B]."""
        return (torch.sin(final) * self.weight).flatten(1).mean(1)

    def one_graph(self) -> list[Tensor]:
        """The straightforward implementation: every gradient step stays in one graph."""
        plan, x = self.plan, self.noise
        penalties: list[Tensor] = []
        for step in range(plan.grid.num_steps):
            if step not in plan.steps and step not in plan.kl_steps:
                with torch.no_grad():
                    x = x + plan.grid.delta(step) * self.velocity(step, x)
                continue
            entering = x if step in plan.steps else x.detach()
            v = self.velocity(step, scale_gradient(entering, plan.alpha))
            if step in plan.kl_steps:
                with torch.no_grad():
                    base = self.reference(step, entering.detach())
                v_kl = v if plan.kl_through_x else self.velocity(step, entering.detach())
                per_sample = ((v_kl - base) ** 2 / (2 * plan.grid.sigmas[step] ** 2)).flatten(1).mean(1)
                penalties.append(per_sample)
            carried = v if step in plan.steps else v.detach()
            x = (x if step in plan.steps else x.detach()) + plan.grid.delta(step) * carried
        total = self.loss(x).mean()
        if penalties:
            total = total + plan.kl_weight * torch.stack(penalties).mean(0).mean()
        self.total, self.kl = total.detach(), torch.stack(penalties).mean(0).detach() if penalties else None
        return gradient_of(total, self.parameters)

    def step_wise(self) -> list[Tensor]:
        calls = 0

        def backward(surrogate: Tensor) -> None:
            nonlocal calls
            calls += 1
            surrogate.backward()

        for parameter in self.parameters:
            parameter.grad = None
        forward = gradients.sample(self.velocity, self.references, self.noise, self.plan, backward, start=0, scale=0.5)
        final = forward.final.requires_grad_(True)
        loss = self.loss(final)
        (adjoint,) = torch.autograd.grad(loss.mean(), final)
        kl = gradients.pull_back(self.velocity, self.references, forward, adjoint, self.plan, backward, scale=0.5)
        assert calls == self.plan.num_backwards
        self.step_total = (loss.mean() + self.plan.kl_weight * kl.mean()).detach()
        return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.parameters]


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


scale_gradient: Callable[[Tensor, float], Tensor] = _Scale.apply


def gradient_of(total: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def relative_error(got: list[Tensor], want: list[Tensor]) -> float:
    a, b = (torch.cat([g.flatten() for g in each]) for each in (got, want))
    assert b.norm() > 0
    return float((a - b).norm() / b.norm())


def plan(k: int, *, alpha: float = 1.0, kl_weight: float = 0.0, kl: str = "gradient", **changes: object) -> Plan:
    u = [1 - i / NUM_STEPS for i in range(NUM_STEPS)]
    sigmas = (*[5 * v / (1 + 4 * v) for v in u], 0.0)
    grid = Grid(sigmas, ("high_noise",) * 3 + ("low_noise",) * 5)
    steps = tuple(range(NUM_STEPS - k, NUM_STEPS))
    kl_steps = () if not kl_weight else (steps if kl == "gradient" else tuple(range(3, NUM_STEPS)))
    return Plan(grid, steps, kl_steps, alpha=alpha, kl_weight=kl_weight, **changes)


CASES = [(k, 1.0, kl, through_x) for k in (1, 2, 3, 4) for kl, through_x in (("expert", False), ("gradient", True))]
CASES += [
    (3, alpha, kl, through_x)
    for alpha in (0.0, 0.5)
    for kl, through_x in ((None, False), ("expert", True), ("gradient", False))
]


@pytest.mark.parametrize("keep", [0, 2, 4])
@pytest.mark.parametrize(("k", "alpha", "kl", "through_x"), CASES)
def test_equals_one_graph(
    model: wan.WanModel, k: int, alpha: float, kl: str | None, through_x: bool, keep: int
) -> None:
    weight = 0.0 if kl is None else 0.7
    settings = {"kl_weight": weight, "kl": kl or "gradient", "kl_through_x": through_x, "keep_graphs": keep}
    problem = Problem(model, plan(k, alpha=alpha, **settings))
    want, got = problem.one_graph(), problem.step_wise()
    assert relative_error(got, want) <= 1e-5
    assert float(problem.step_total) == pytest.approx(float(problem.total), rel=1e-5)


@pytest.mark.parametrize("keep", [0, 7])
def test_gradient_steps_of_both_experts(model: wan.WanModel, keep: int) -> None:
    problem = Problem(model, plan(7, kl_weight=0.3, keep_graphs=keep))
    assert relative_error(problem.step_wise(), problem.one_graph()) <= 1e-5


def test_early_stop_differentiates_the_prediction(model: wan.WanModel) -> None:
    full = plan(4).grid
    grid = Grid((*full.sigmas[:6], 0.0), full.experts[:6])
    problem = Problem(model, Plan(grid, (4, 5)))
    assert relative_error(problem.step_wise(), problem.one_graph()) <= 1e-5


def test_block_checkpointing_changes_nothing(model: wan.WanModel) -> None:
    problem = Problem(model, plan(3, kl_weight=0.5))
    plain = problem.step_wise()
    for expert in problem.experts:
        expert.enable_gradient_checkpointing()
    try:
        assert relative_error(problem.step_wise(), plain) <= 1e-6
    finally:
        for expert in problem.experts:
            expert.disable_gradient_checkpointing()


def test_a_step_whose_graph_is_kept_runs_once(model: wan.WanModel) -> None:
    """Of four gradient steps the last three: they run once, the first and the KL-only step before as without."""
    problem = Problem(model, plan(4, kl_weight=0.5, kl="expert", keep_graphs=3))
    velocity, ran, measured = problem.velocity, [], []

    def counted(step: int, x: Tensor) -> Tensor:
        ran.append(step)
        return velocity(step, x)

    def together(steps: Sequence[int], latents: Sequence[Tensor]) -> list[Tensor]:
        measured.append(tuple(steps))
        return [velocity(step, x) for step, x in zip(steps, latents, strict=True)]

    problem.velocity, problem.references = counted, together  # type: ignore[method-assign]
    problem.step_wise()
    assert ran == [0, 1, 2, 3, 4, 5, 6, 7, 4]
    assert measured == [(3,), (5, 6, 7), (4,)]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_linear_model_by_hand(alpha: float) -> None:
    """v = a x, loss = x_N: the gradient in a is sum_i d_i x_i prod_{j>i} (1 + alpha d_j a), computed by hand."""
    a = torch.tensor(0.3, requires_grad=True)
    sigmas = (1.0, 0.7, 0.4, 0.0)
    grid = Grid(sigmas, ("low_noise",) * 3)

    def velocity(step: int, x: Tensor) -> Tensor:
        return a * x

    p = Plan(grid, (0, 1, 2), alpha=alpha)
    start = torch.full((1, 1), 2.0)

    def references(steps: Sequence[int], latents: Sequence[Tensor]) -> list[Tensor]:
        raise AssertionError("there is no divergence")

    forward = gradients.sample(velocity, references, start, p, lambda s: s.backward(), start=0, scale=1.0)
    gradients.pull_back(velocity, references, forward, torch.ones(1, 1), p, lambda s: s.backward(), scale=1.0)
    d = [-0.3, -0.3, -0.4]
    x = [2.0]
    for delta in d:
        x.append(x[-1] * (1 + delta * 0.3))
    want, factor = 0.0, 1.0
    for i in (2, 1, 0):
        want += d[i] * x[i] * factor
        factor *= 1 + alpha * d[i] * 0.3
    assert a.grad is not None
    assert float(a.grad) == pytest.approx(want, rel=1e-5)


def test_only_one_step_is_kept_in_memory(model: wan.WanModel) -> None:
    """What autograd saves at once does not grow with the number of gradient steps."""

    def peak(k: int) -> int:
        live, most = 0, 0
        problem = Problem(model, plan(k))
        weights = {parameter.data_ptr() for expert in problem.experts for parameter in expert.parameters()}

        class Held:
            def __init__(self, tensor: Tensor) -> None:
                nonlocal live, most
                self.tensor = tensor
                self.nbytes = 0 if tensor.data_ptr() in weights else tensor.nbytes
                live += self.nbytes
                most = max(most, live)

            def __del__(self) -> None:
                nonlocal live
                live -= self.nbytes

        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            problem.step_wise()
        return most

    assert peak(5) <= 1.15 * peak(1)


def one_graph_of_modes(problem: Problem, noise: list[Tensor]) -> list[Tensor]:
    """DRaFT-LV as plainly as it is defined: the finished video, noised anew, denoised by the last step alone."""
    p, x = problem.plan, problem.noise
    last = p.grid.num_steps - 1
    with torch.no_grad():
        for step in range(p.grid.num_steps):
            x = x + p.grid.delta(step) * problem.velocity(step, x)
    total = torch.zeros(())
    for each in noise:
        entering = (1 - p.grid.sigmas[last]) * x + p.grid.sigmas[last] * each
        v = problem.velocity(last, entering)
        with torch.no_grad():
            base = problem.reference(last, entering)
        kl = ((v - base) ** 2 / (2 * p.grid.sigmas[last] ** 2)).flatten(1).mean(1)
        loss = problem.loss(entering + p.grid.delta(last) * v) + p.kl_weight * kl
        total = total + loss.mean() / len(noise)
    return gradient_of(total, problem.parameters)


def test_renoised_last_step_equals_one_graph(model: wan.WanModel) -> None:
    problem = Problem(model, replace(plan(1, kl_weight=0.7), renoised=2))
    generator = torch.Generator().manual_seed(9)
    noise = [torch.randn(problem.noise.shape, generator=generator) for _ in range(2)]
    want = one_graph_of_modes(problem, noise)
    for parameter in problem.parameters:
        parameter.grad = None
    back = partial(Tensor.backward)
    forward = gradients.sample(
        problem.velocity, problem.references, problem.noise, problem.plan, back, start=0, scale=0.5
    )
    for each in noise:
        taken = gradients.renoised(problem.velocity, forward, each, problem.plan)
        final = taken.final.requires_grad_(True)
        (adjoint,) = torch.autograd.grad(problem.loss(final).mean() / 2, final)
        gradients.pull_back(problem.velocity, problem.references, taken, adjoint, problem.plan, back, scale=0.25)
    got = [torch.zeros_like(p) if p.grad is None else p.grad for p in problem.parameters]
    assert relative_error(got, want) <= 1e-5


def test_steps_without_gradient_are_passed_over(model: wan.WanModel) -> None:
    """A set with gaps: the adjoint takes the identity for the steps between."""
    problem = Problem(model, replace(plan(1), steps=(4, 7)))
    p, x = problem.plan, problem.noise
    total_x = x
    for step in range(p.grid.num_steps):
        if step in p.steps:
            total_x = total_x + p.grid.delta(step) * problem.velocity(step, total_x)
        else:  # the value of the step, without its Jacobian
            with torch.no_grad():
                moved = p.grid.delta(step) * problem.velocity(step, total_x.detach())
            total_x = total_x + moved
    want = gradient_of(problem.loss(total_x).mean(), problem.parameters)
    assert relative_error(problem.step_wise(), want) <= 1e-5
