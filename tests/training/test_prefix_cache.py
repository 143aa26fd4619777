"""The caches through the real trainer: nothing is computed twice, and no result depends on what was kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from brightness_trainer import BrightnessScorer
from forked_trainers import ForkedTrainers, log_of
from safetensors.torch import load_file

from rewardfl_app.config import files
from rewardfl_app.models import conditioning, wan
from rewardfl_app.rendering import evaluation_set
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, metrics
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.training import loading
from rewardfl_app.training.__main__ import main
from rewardfl_app.training.step import TrainingStep

MakeRun = Callable[..., RunFolder]
CLOCKS = {"time", "step_seconds", "peak_memory_gb"}
SHORT: dict[str, Any] = {
    "train": {"max_steps": 2},
    "evaluation": {"eval_steps": 2, "num_samples": 2},
}
KEPT: dict[str, Any] = {
    **SHORT,
    "sampling": {"num_inference_steps": 4, "mid_timestep": 2, "final_timestep": 3, "prefix_seeds": 2},
}
CACHES = (("off", 0.0), ("cold", 20.0), ("warm", 20.0))
FROZEN = {"high_noise", "text_encoder", "vae_encoder"}


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, frozenset[str]]]:
    """Which networks are in memory at every update and at every rendering."""
    found: list[tuple[str, frozenset[str]]] = []
    models: list[wan.WanModel] = []
    load, update, render = wan.load, TrainingStep.update, evaluation_set.render

    def loading(*arguments: Any) -> wan.WanModel:
        models.append(load(*arguments))
        return models[-1]

    def updating(self: TrainingStep, *arguments: Any) -> Any:
        values = update(self, *arguments)
        found.append(("update", models[-1].resident))
        return values

    def rendering(*arguments: Any, **named: Any) -> Any:
        frames = render(*arguments, **named)
        found.append(("evaluation", models[-1].resident))
        return frames

    monkeypatch.setattr(wan, "load", loading)
    monkeypatch.setattr(TrainingStep, "update", updating)
    monkeypatch.setattr(evaluation_set, "render", rendering)
    return found


def train(run: RunFolder) -> int:
    return main([str(run.path)])


def curve(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in CLOCKS} for r in metrics.read_all(run.metrics)]


def weights_of(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(checkpoints.find(run, "latest").path / "low_noise.safetensors")


def assert_same(one: RunFolder, two: RunFolder) -> None:
    assert curve(one) == curve(two)
    first, second = weights_of(one), weights_of(two)
    assert set(first) == set(second) and all(torch.equal(first[key], second[key]) for key in first)


def test_cold_warm_and_off_are_bit_equal_and_the_frozen_networks_are_gone(
    make_run: MakeRun, seen: list[tuple[str, frozenset[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    off = make_run("off", **KEPT, data={"cache_gb": 0.0})
    assert train(off) == 0
    assert any(networks & FROZEN for _, networks in seen), "without a cache they are needed all the time"
    seen.clear()

    cold = make_run("cold", **KEPT)
    assert train(cold) == 0
    assert {what for what, _ in seen} == {"update", "evaluation"}
    assert not any(networks & FROZEN for _, networks in seen)
    seen.clear()

    for name in ("encode_prompts", "encode_condition"):
        monkeypatch.setattr(conditioning, name, lambda *_: pytest.fail("encoded again"))
    monkeypatch.setattr(wan, "load_text_encoder", lambda *_: pytest.fail("read again"))
    warm = make_run("warm", **KEPT)
    assert train(warm) == 0
    assert not any(networks & FROZEN for _, networks in seen)
    assert_same(off, cold)
    assert_same(cold, warm)


def test_fresh_noise_is_the_same_with_and_without_the_cache(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(
        BrightnessScorer, "has_face", lambda self, frames: looked.append(len(frames)) or [True] * len(frames)
    )
    off, cold, warm = (make_run(name, **SHORT, data={"cache_gb": gb}) for name, gb in CACHES)
    assert train(off) == train(cold) == 0
    assert len(looked) == 6 * 2
    looked.clear()
    assert train(warm) == 0
    kept = len(list((warm.path.parent / ".cache" / "reference").iterdir()))
    assert kept >= 4 and len(looked) == 6 - kept, "a row whose reference is kept has shown a face"
    assert_same(off, cold)
    assert_same(cold, warm)


def test_with_the_anchor_and_rounds(make_run: MakeRun, seen: list[tuple[str, frozenset[str]]]) -> None:
    changes = {**KEPT, "reward": {"anchor_weight": 0.1}, "train": {"num_train_epochs": 2, "max_steps": 3}}
    off, kept = make_run("off", **changes, data={"cache_gb": 0.0}), make_run("kept", **changes)
    assert train(off) == 0
    seen.clear()
    assert train(kept) == 0
    assert seen and not any(networks & FROZEN for _, networks in seen)
    assert_same(off, kept)


def test_where_memory_is_scarce_the_encoders_go_with_fresh_noise_too(
    make_run: MakeRun, seen: list[tuple[str, frozenset[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, scarce, small = make_run("plain", **SHORT), make_run("scarce", **SHORT), make_run("small", **SHORT)
    assert train(plain) == 0
    assert any("text_encoder" in networks for _, networks in seen)
    seen.clear()
    cache = plain.path.parent / ".cache"
    shutil.rmtree(cache)
    monkeypatch.setattr(loading, "memory_is_scarce", lambda device: True)
    assert train(scarce) == 0
    assert seen and not any(networks & {"text_encoder", "vae_encoder"} for _, networks in seen)
    assert any("high_noise" in networks for _, networks in seen), "its steps start from fresh noise"
    assert_same(plain, scarce)

    shutil.rmtree(cache)
    tight = files.load(small.config)
    files.dump(tight.model_copy(update={"data": tight.data.model_copy(update={"cache_gb": 1e-6})}), small.config)
    seen.clear()
    assert train(small) == 0, "without room for everything they stay"
    assert any("text_encoder" in networks for _, networks in seen)


def test_a_cache_that_is_lost_on_the_way_costs_only_time(
    make_run: MakeRun, seen: list[tuple[str, frozenset[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, lost = make_run("plain", **KEPT), make_run("lost", **KEPT)
    assert train(plain) == 0
    update = TrainingStep.update

    def losing(self: TrainingStep, *arguments: Any) -> Any:
        shutil.rmtree(Path(lost.path.parent) / ".cache", ignore_errors=True)
        return update(self, *arguments)

    monkeypatch.setattr(TrainingStep, "update", losing)
    seen.clear()
    assert train(lost) == 0
    assert_same(plain, lost)
    assert not any(networks & FROZEN for _, networks in seen), "what is read for a lost clip is let go again"


def test_a_cache_that_is_too_small_is_one_sentence(make_run: MakeRun) -> None:
    run = make_run("small", **KEPT, data={"cache_gb": 1e-6})
    assert train(run) == 2
    failure = read_json(run.failure) or {}
    assert "data.cache_gb" in failure["sentence"] and "prefix_seeds" in failure["sentence"]


def test_two_processes_share_it(make_run: MakeRun, forked_trainers: ForkedTrainers) -> None:
    train = {"max_steps": 2, "per_device_train_batch_size": 1}
    changes = {**KEPT, "train": train, "deepspeed": {"num_processes": 2}}
    off = make_run("off", **changes, data={"cache_gb": 0.0})
    cold, warm, small = make_run("cold", **changes), make_run("warm", **changes), make_run("small", **changes)
    assert forked_trainers.train([off.path, cold.path, warm.path], ranks=2)["codes"] == [0, 0], log_of(off.path)
    assert_same(off, cold)
    assert_same(cold, warm)
    tight = files.load(small.config)
    files.dump(tight.model_copy(update={"data": tight.data.model_copy(update={"cache_gb": 1e-6})}), small.config)
    assert all(forked_trainers.train([small.path], ranks=2)["codes"])
    assert "data.cache_gb" in (read_json(small.failure) or {})["sentence"]
