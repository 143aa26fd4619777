"""The sampling grid: golden values, and properties that hold for every setting."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardfl_app.config import presets, schedule
from rewardfl_app.config.schema import Config


def test_the_lightning_grid_of_eight_steps() -> None:
    expected = [1, 0.9722, 0.9375, 0.8929, 0.8333, 0.75, 0.625, 0.4167, 0]
    assert schedule.sigmas(8, 5.0) == pytest.approx(expected, abs=5e-5)


@given(st.integers(1, 60), st.floats(0.1, 20))
def test_noise_falls_from_one_to_zero(num_inference_steps: int, shift: float) -> None:
    levels = schedule.sigmas(num_inference_steps, shift)
    assert len(levels) == num_inference_steps + 1
    assert levels[0] == 1.0
    assert levels[-1] == 0.0
    assert all(before > after for before, after in pairwise(levels))


@given(st.integers(1, 60), st.floats(0.1, 20), st.floats(0, 1))
def test_high_noise_comes_first(num_inference_steps: int, shift: float, boundary: float) -> None:
    experts = schedule.experts(num_inference_steps, shift, boundary)
    assert len(experts) == num_inference_steps
    assert experts == sorted(experts)  # "high_noise" < "low_noise"
    assert experts[0] == "high_noise"


def test_the_boundary_belongs_to_the_high_noise_expert() -> None:
    assert schedule.expert_at(0.9, 0.9) == "high_noise"
    assert schedule.expert_at(0.8999, 0.9) == "low_noise"


def test_steps_of_the_presets() -> None:
    wan, pocket = presets.preset("wan22_i2v_a14b"), presets.preset("pocket")
    assert schedule.step_experts(wan) == ["high_noise"] * 3 + ["low_noise"] * 5
    assert schedule.expert_of(3, wan) == "low_noise"
    assert schedule.gradient_steps(wan) == schedule.kl_steps(wan) == [4, 5, 6, 7]
    assert schedule.trained_experts(wan) == ["low_noise"]
    assert set(schedule.gradient_steps(pocket)) <= {3, 4, 5, 6, 7}


def test_kl_on_every_step_of_the_trained_expert_that_is_sampled() -> None:
    config = Config.model_validate(
        {"sampling": {"mid_timestep": 5, "final_timestep": 6}, "reward": {"kl_steps": "expert"}}
    )
    assert schedule.kl_steps(config) == [3, 4, 5, 6]


@pytest.mark.parametrize(("steps", "shift"), [(0, 5.0), (8, 0.0)])
def test_impossible_grids_are_refused(steps: int, shift: float) -> None:
    with pytest.raises(ValueError, match="num_inference_steps"):
        schedule.sigmas(steps, shift)
