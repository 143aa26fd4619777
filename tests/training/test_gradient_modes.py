"""Every gradient mode through the real trainer: it learns, and a continued run is the uninterrupted one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from brightness_trainer import BrightnessScorer
from safetensors.torch import load_file

from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, control, metrics
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training.__main__ import main
from rewardfl_app.training.trainer import Trainer

MakeRun = Callable[..., RunFolder]
CLOCKS = {"time", "step_seconds", "peak_memory_gb"}
WINDOW = {"num_inference_steps": 6, "mid_timestep": 3, "final_timestep": 5}
MODES: dict[str, dict[str, Any]] = {
    "random_k": {"gradient_mode": "random_k"},
    "random_steps": {"gradient_mode": "random_steps", "num_gradient_steps": 2, "gradient_decay": 0.0},
    "draft_lv": {"gradient_mode": "draft_lv", "num_renoised": 2},
    "refl": {"gradient_mode": "refl"},
    "early stop": {"mid_timestep": 3, "final_timestep": 4},
}


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


def stop_after(monkeypatch: pytest.MonkeyPatch, run: RunFolder, step: int) -> None:
    one_step = Trainer._one_step

    def asking(self: Trainer, parts: Any) -> None:
        one_step(self, parts)
        if self.reporter.step == step:
            control.request(run, "stop_and_save")

    monkeypatch.setattr(Trainer, "_one_step", asking)


@pytest.mark.parametrize("mode", MODES)
def test_it_learns_and_goes_on_bit_for_bit(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    changes = {
        "sampling": {**WINDOW, **MODES[mode]},
        "reward": {"kl_weight": 0.1},
        "train": {"max_steps": 6, "save_steps": 6},
        "evaluation": {"eval_steps": 6, "num_samples": 2},
    }
    whole, halves = make_run("whole", **changes), make_run("halves", **changes)
    assert main([str(whole.path)]) == 0
    with monkeypatch.context() as patch:
        stop_after(patch, halves, 3)
        assert main([str(halves.path)]) == 0
    assert main([str(halves.path)]) == 0
    first, second = (load_file(checkpoints.find(run, 6).path / "low_noise.safetensors") for run in (whole, halves))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    curves = [
        [{k: v for k, v in r.items() if k not in CLOCKS} for r in metrics.read_all(run.metrics)]
        for run in (whole, halves)
    ]
    assert curves[0] == curves[1]
    last = curves[0][-1]
    assert last["eval/reward"] > last["eval/reward_baseline"]
    steps = [record for record in curves[0] if "loss" in record]
    assert all(record["kl"] is not None and record["grad_norm"] > 0 for record in steps)
    assert ("first_gradient_step" in steps[0]) == ("gradient_mode" in MODES[mode])
