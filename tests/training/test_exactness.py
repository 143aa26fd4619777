"""The gradient that the optimizer gets, against one autograd graph over the whole update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captured_gradient
import pytest
from brightness_trainer import BrightnessScorer

from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs.folder import RunFolder

MakeRun = Callable[..., RunFolder]
EXACT = 1e-5
BOTH = {"model": {"trainable_models": "dit,dit2"}, "lora": {"lora_base_model": "dit,dit2"}}


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


def check(run: RunFolder) -> None:
    assert captured_gradient.train_two_steps(run) == 0
    got, want = captured_gradient.captured(run), captured_gradient.straightforward(run)
    assert captured_gradient.relative_error(got, want) <= EXACT


def last(k: int, num_inference_steps: int = 8) -> dict[str, Any]:
    """Sampling whose last k steps carry the gradient."""
    first, final = num_inference_steps - k, num_inference_steps - 1
    return {"num_inference_steps": num_inference_steps, "mid_timestep": first, "final_timestep": final}


@pytest.mark.parametrize("k", range(1, 9))
def test_every_number_of_steps(make_run: MakeRun, k: int) -> None:
    """With the divergence on the gradient steps, through x as in the reference for odd k."""
    reward = {"kl_steps": "gradient", "kl_through_x": bool(k % 2)}
    changes = {"sampling": last(k), "reward": reward, **(BOTH if k > 5 else {})}
    check(make_run("k", **captured_gradient.settings(**changes)))
