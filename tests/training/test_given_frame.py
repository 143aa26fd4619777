"""Wan2.2-TI2V-5B trains by the same path: one transformer, larger latents, the given frame in the latents' place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_family
import tiny_wan
import torch
from brightness_trainer import BrightnessScorer
from PIL import Image
from safetensors.torch import load_file

from rewardfl_app.config.schema import Config, SamplingConfig
from rewardfl_app.data import video
from rewardfl_app.inference import session
from rewardfl_app.inference.generate import generate
from rewardfl_app.models import conditioning, sampling, wan
from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, metrics, samples
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training import gradients
from rewardfl_app.training.__main__ import main
from rewardfl_app.training.gradient_plan import Plan

MakeRun = Callable[..., RunFolder]
SETTINGS = tiny_family.SINGLE


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_family.make_single_family(tmp_path_factory.mktemp("single_family"))


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


def changed(**sections: dict[str, object]) -> dict[str, dict[str, object]]:
    return {section: {**SETTINGS.get(section, {}), **sections.get(section, {})} for section in {*SETTINGS, *sections}}


def test_it_trains_evaluates_and_goes_on(make_run: MakeRun) -> None:
    run = make_run("whole", **SETTINGS)
    assert main([str(run.path)]) == 0
    records = metrics.read_all(run.metrics)
    steps = [record for record in records if not metrics.is_evaluation(record)]
    assert [record["step"] for record in steps] == [1, 2, 3, 4]
    assert steps[0]["kl"] == 0 and steps[-1]["kl"] > 0 and all(record["grad_norm"] > 0 for record in steps)
    assert all(record["anchor"] > 0 for record in steps)
    found = checkpoints.find(run, 4).path
    assert [path.name for path in found.glob("*_noise.safetensors")] == ["high_noise.safetensors"]
    assert any(
        value.abs().max() > 0 for key, value in load_file(found / "high_noise.safetensors").items() if "_B" in key
    )
    info = video.probe(next(iter(samples.list_samples(run).values()))[0].video)
    assert (info.height, info.width, info.num_frames) == (64, 64, 9)


def test_a_size_that_follows_the_clip_is_a_multiple_of_32(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("fitted", **changed(data={"height": None, "width": None}, train={"max_steps": 1, "save_steps": 1}))
    assert main([str(run.path)]) == 0
    info = video.probe(samples.list_samples(run)[1][0].video)
    assert (info.height, info.width) == (32, 64)
    out, picture = tmp_path / "out.mp4", tmp_path / "face.png"
    Image.fromarray(np.full((90, 70, 3), 120, np.uint8)).save(picture)
    generate(session.load(run, "latest"), picture, "a man smiles", 1, out)
    info = video.probe(out)
    assert (info.height, info.width, info.num_frames) == (64, 32, 9)


@pytest.mark.parametrize("mode", ["refl", "draft_lv"])
def test_the_other_gradient_modes(make_run: MakeRun, mode: str) -> None:
    run = make_run(mode, **changed(sampling={"gradient_mode": mode}, train={"max_steps": 1, "save_steps": 1}))
    assert main([str(run.path)]) == 0
    [record] = [record for record in metrics.read_all(run.metrics) if not metrics.is_evaluation(record)]
    assert record["grad_norm"] > 0


def _no_references(steps: object, latents: object) -> list[torch.Tensor]:
    raise AssertionError("there is no divergence")


def test_the_step_wise_gradient_is_that_of_one_graph(family: Path) -> None:
    """Through the sampling steps of the tiny 5B, from a random gradient at the end."""
    settings = tiny_wan.model_config(
        family / "wan", model_name="wan2_2_5b", trainable_models="dit", min_timestep_boundary=0.0
    )
    config = Config(model=settings, sampling=SamplingConfig(num_inference_steps=4, mid_timestep=1, final_timestep=3))
    torch.manual_seed(0)
    model, grid = wan.load(settings), Grid.of(config)
    expert = model.experts["high_noise"].requires_grad_(True)
    text = torch.randn(1, 4, 16)
    condition = conditioning.encode_condition(model.vae, torch.rand(1, 3, 64, 64) * 2 - 1, 9)
    velocity = sampling.velocities(model.experts, grid, text, condition)
    noise, weights = torch.randn(2, 1, 48, 3, 4, 4)
    with torch.no_grad():
        start = sampling.rollout(velocity, noise, grid, stop=1)[-1]
    final = sampling.rollout(velocity, start, grid, start=1)[-1]
    used = list(expert.parameters())
    want = torch.autograd.grad((final * weights).sum(), used)
    plan = Plan.draw(config, 1, kl_weight=0.0)

    def backward(loss: torch.Tensor) -> None:
        loss.backward()

    forward = gradients.sample(velocity, _no_references, noise, plan, backward, start=0, scale=1.0)
    torch.testing.assert_close(forward.final, final, rtol=1e-5, atol=1e-5)
    gradients.pull_back(velocity, _no_references, forward, weights, plan, backward, scale=1.0)
    found = torch.cat([parameter.grad.flatten() for parameter in used if parameter.grad is not None])
    exact = torch.cat([gradient.flatten() for gradient in want])
    assert float((found - exact).norm() / exact.norm()) < 1e-5
