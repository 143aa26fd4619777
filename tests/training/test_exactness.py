"""The gradient that the optimizer gets, against one autograd graph over the whole update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import captured_gradient
import pytest
from brightness_trainer import BrightnessScorer
from forked_trainers import ForkedTrainers, log_of

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
    assert error_of(run) <= EXACT


def error_of(run: RunFolder, faceless: Sequence[int] = ()) -> float:
    return captured_gradient.relative_error(
        captured_gradient.captured(run), captured_gradient.straightforward(run, faceless)
    )


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


CASES: dict[str, dict[str, dict[str, Any]]] = {
    "no divergence": {"reward": {"kl_weight": 0.0}},
    "divergence on every step of the expert": {"sampling": last(2, 8), "reward": {"kl_steps": "expert"}},
    "discounted": {"sampling": {**last(3, 8), "gradient_decay": 0.5}, "reward": {"kl_steps": "expert"}},
    "detached": {"sampling": {**last(3, 8), "gradient_decay": 0.0}},
    "early stop": {"sampling": {"num_inference_steps": 8, "mid_timestep": 4, "final_timestep": 5}},
    "accumulation": {"train": {"train_batch_size": 4, "gradient_accumulation_steps": 2}},
    "decoded frame by frame": {"sampling": {"decode_chunk": 1}},
    "decoded at once": {"sampling": {"decode_chunk": None}},
    "graphs kept": {"sampling": {**last(3, 8), "keep_graphs": 3}, "reward": {"kl_steps": "expert"}},
    "graphs kept, checkpointed": {
        "sampling": {**last(3, 8), "keep_graphs": 2},
        "model": {"use_gradient_checkpointing": True},
    },
    "checkpointed": {"model": {"use_gradient_checkpointing": True}},
    "all weights": {"lora": {"lora_base_model": "none"}, "train": {"learning_rate": 1e-3}},
    "all weights, ZeRO 3": {
        "lora": {"lora_base_model": "none"},
        "train": {"learning_rate": 1e-3},
        "deepspeed": {"zero_stage": 3, "offload_parameters": True},
    },
    "high-noise expert alone": {
        "model": {"trainable_models": "dit"},
        "lora": {"lora_base_model": "dit"},
        "sampling": {"num_inference_steps": 8, "mid_timestep": 1, "final_timestep": 2},
    },
}


@pytest.mark.parametrize("name", CASES)
def test_settings(make_run: MakeRun, name: str) -> None:
    check(make_run("case", **captured_gradient.settings(**CASES[name])))


def on(ranks: int, stage: int, **changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Micro-batches of 2, two of them on each of the ranks, every kind of divergence."""
    return captured_gradient.settings(
        train={"train_batch_size": 4 * ranks, "gradient_accumulation_steps": 2},
        deepspeed={"num_processes": ranks, "zero_stage": stage, "offload_optimizer": stage == 2},
        reward={"kl_steps": "expert"},
        **changes,
    )


@pytest.mark.parametrize("ranks", [1, 2])
def test_every_stage_of_zero(make_run: MakeRun, forked_trainers: ForkedTrainers, ranks: int) -> None:
    runs = [make_run(f"zero-{stage}", **on(ranks, stage)) for stage in range(4)]
    runs.append(make_run("zero-3-kept", **on(ranks, 3, sampling={"keep_graphs": 4})))
    for run in runs:  # a process each: DeepSpeed's stages do not all leave a process as they found it
        done = forked_trainers.train([run.path], ranks=ranks, capture=True)
        assert done["codes"] == [0] * ranks, log_of(run.path)
    errors = [error_of(run) for run in runs]
    assert max(errors) <= EXACT, errors


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_video_without_a_face_changes_nothing_for_the_other_three(
    make_run: MakeRun, forked_trainers: ForkedTrainers, ranks: int
) -> None:
    """The last of four: the gradient is that of the other three, each with the weight of a quarter."""
    each = 4 // ranks
    train = {"train_batch_size": 4, "per_device_train_batch_size": each}
    run = make_run("faceless", **captured_gradient.settings(train=train, deepspeed={"num_processes": ranks}))
    done = forked_trainers.train([run.path], ranks=ranks, capture=True, faceless={ranks - 1: [each - 1]})
    assert done["codes"] == [0] * ranks, log_of(run.path)
    assert error_of(run, faceless=[3]) <= EXACT
    assert error_of(run) > 100 * EXACT
