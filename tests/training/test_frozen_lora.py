"""A run on a base model with a LoRA of its own, kept beside the weights: the same under every ZeRO stage; resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lora_files
import pytest
import tiny_wan
import torch
from brightness_trainer import BrightnessScorer
from lora_files import Matrices
from safetensors.torch import load_file

from rewardfl_app.config import files
from rewardfl_app.models import wan
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, metrics
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training.__main__ import main

MakeRun = Callable[..., RunFolder]
CLOCKS = {"time", "step_seconds", "peak_memory_gb"}


def train(run: RunFolder) -> int:
    return main([str(run.path)])


def curve(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in CLOCKS} for r in metrics.read_all(run.metrics)]


def lora_of(run: RunFolder, step: int) -> dict[str, torch.Tensor]:
    return load_file(checkpoints.find(run, step).path / "low_noise.safetensors")


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return lora_files.lightx2v(tmp_path, Matrices.of(tiny_wan.transformer(), size=0.1))


def test_every_zero_stage_and_merging_make_the_same_run(make_run: MakeRun, file: Path) -> None:
    kept = {"low_noise_lora": str(file), "fuse_frozen_lora": False}
    plain = make_run("plain")
    alone = make_run("zero0", model=kept)
    assert train(plain) == 0 and train(alone) == 0
    values = [record for record in metrics.read_all(alone.metrics) if not metrics.is_evaluation(record)]
    assert values[0]["kl"] == 0 < values[-1]["kl"]
    first = [curve(run)[0]["eval/reward"] for run in (plain, alone)]
    assert first[0] != first[1], "the base model has its LoRA"
    want = lora_of(alone, 4)
    others = [make_run("merged", model={**kept, "fuse_frozen_lora": True})]
    for stage in (2, 3):
        offload = {"zero_stage": stage, "offload_optimizer": True, "offload_parameters": stage == 3}
        others.append(make_run(f"zero{stage}", model=kept, deepspeed=offload))
    for run in others:
        assert train(run) == 0
        got = lora_of(run, 4)
        assert set(got) == set(want)
        for key, value in got.items():
            torch.testing.assert_close(value, want[key], rtol=1e-3, atol=1e-5)


def test_stopped_and_resumed_equals_uninterrupted(make_run: MakeRun, file: Path) -> None:
    changes = {
        "model": {"low_noise_lora": str(file), "fuse_frozen_lora": False},
        "lora": {"lora_dropout": 0.2, "lora_rank": 2},
        "deepspeed": {"zero_stage": 2},
    }
    whole, halves = make_run("whole", **changes), make_run("halves", **changes)
    assert train(whole) == 0
    config = files.load(halves.config)
    for steps in (2, 4):
        changed = config.train.model_copy(update={"max_steps": steps})
        files.dump(config.model_copy(update={"train": changed}), halves.config)
        assert train(halves) == 0
    assert curve(halves) == curve(whole)
    want, got = lora_of(whole, 4), lora_of(halves, 4)
    assert set(got) == set(want) and all(torch.equal(got[key], want[key]) for key in want)
    saved = load_file(file)
    expert = wan.load(files.load(whole.config).model).experts["low_noise"]
    kept = expert.get_submodule("blocks.0.attn1.to_q").lora_A["frozen"].weight
    assert torch.equal(kept, saved["diffusion_model.blocks.0.self_attn.q.lora_down.weight"])
