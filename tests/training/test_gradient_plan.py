from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from rewardfl_app.config import presets
from rewardfl_app.config.schema import Config
from rewardfl_app.training.gradient_plan import Plan


def config(**sampling: Any) -> Config:
    base = presets.preset("pocket").model_dump()
    base["sampling"] |= {"mid_timestep": 3, "final_timestep": 7, **sampling}
    base["reward"]["kl_steps"] = sampling.get("kl_steps", "gradient")
    base["sampling"].pop("kl_steps", None)
    return Config.model_validate(base)


def drawn(settings: Config, count: int = 400) -> list[tuple[int, ...]]:
    return [Plan.draw(settings, update).steps for update in range(1, count + 1)]


def test_last_k_takes_every_step_every_time() -> None:
    assert set(drawn(config())) == {(3, 4, 5, 6, 7)}
    assert Plan.draw(config(), 1).num_backwards == 5


def test_random_k_draws_the_number_evenly() -> None:
    counts = Counter(drawn(config(gradient_mode="random_k")))
    assert set(counts) == {tuple(range(8 - k, 8)) for k in range(1, 6)}
    assert all(50 <= count <= 110 for count in counts.values())


def test_random_steps_prefers_late_ones() -> None:
    sets = drawn(config(gradient_mode="random_steps", num_gradient_steps=2), 2000)
    assert all(
        len(set(steps)) == 2 and steps == tuple(sorted(steps)) and set(steps) <= set(range(3, 8)) for steps in sets
    )
    single = Counter(drawn(config(gradient_mode="random_steps", num_gradient_steps=1), 4000))
    total = sum((i + 1) ** 2 for i in range(3, 8))
    for step in range(3, 8):
        assert single[(step,)] / 4000 == pytest.approx((step + 1) ** 2 / total, abs=0.03)


def test_refl_ends_the_grid_at_its_step() -> None:
    plans = [Plan.draw(config(gradient_mode="refl", kl_steps="expert"), update) for update in range(100)]
    assert {plan.steps[0] for plan in plans} == set(range(3, 8))
    for plan in plans:
        assert plan.grid.num_steps == plan.steps[0] + 1 and plan.grid.sigmas[-1] == 0.0
        assert set(plan.kl_steps) == set(range(3, plan.grid.num_steps))
        assert plan.grid.delta(plan.steps[0]) == -plan.grid.sigmas[plan.steps[0]]


def test_draft_lv_counts_every_noising() -> None:
    plan = Plan.draw(config(gradient_mode="draft_lv", num_renoised=3, kl_steps="expert"), 1)
    assert (plan.steps, plan.renoised, plan.kl_only) == ((7,), 3, (3, 4, 5, 6))
    assert plan.num_backwards == 7


def test_the_draw_depends_on_seed_and_update_alone() -> None:
    settings = config(gradient_mode="random_k")
    assert drawn(settings) == drawn(settings)
    other = settings.model_copy(update={"train": settings.train.model_copy(update={"seed": 7})})
    assert drawn(other) != drawn(settings)


def test_an_adapted_weight_takes_the_place_of_the_configured() -> None:
    assert Plan.draw(config(), 1, kl_weight=0.25).kl_weight == 0.25
    assert Plan.draw(config(), 1).kl_weight == config().reward.kl_weight
