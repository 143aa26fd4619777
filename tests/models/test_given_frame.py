"""Wan2.2-TI2V-5B: the given frame takes the place of its latents, and its tokens are without noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_wan
import torch
from torch.testing import assert_close

from rewardfl_app.config.schema import Config, ModelConfig
from rewardfl_app.models import conditioning, sampling, vae_sequence, wan
from rewardfl_app.models.sampling import Grid
from rewardfl_app.models.wan import WanModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    tiny_wan.save_single(folder)
    return folder


@pytest.fixture
def model(folder: Path) -> WanModel:
    torch.manual_seed(0)
    return wan.load(tiny_wan.model_config(folder, model_name="wan2_2_5b"))


@pytest.fixture
def grid() -> Grid:
    return Grid.of(Config(model=ModelConfig(model_name="wan2_2_5b", min_timestep_boundary=0.0)))


def test_equals_the_diffusers_pipeline_on_one_grid(model: WanModel, grid: Grid) -> None:
    prompts, image = ["a woman smiles", "a man turns"], torch.rand(1, 3, 64, 96) * 2 - 1
    noise = torch.randn(2, 48, 3, 4, 6)
    want = tiny_wan.latents_of(tiny_wan.single_pipeline(), image, prompts, noise)
    assert set(grid.experts) == {"high_noise"}
    text = conditioning.encode_prompts(model, prompts)
    condition = conditioning.encode_condition(model.vae, image, 9)
    assert conditioning.latent_shape(condition[0]) == model.family.latent_shape(9, 64, 96) == (48, 3, 4, 6)
    with torch.no_grad():
        velocity = sampling.velocities(model.experts, grid, text, condition.expand(2, -1, -1, -1, -1))
        latents = sampling.rollout(velocity, noise, grid)
    assert_close(latents[-1], want, rtol=1e-4, atol=1e-5)
    assert_close(latents[-1][:, :, :1], condition[:, 4:, :1].expand(2, -1, -1, -1, -1), rtol=1e-5, atol=1e-5)


def test_the_given_frame_takes_no_gradient_and_gives_none(model: WanModel, grid: Grid) -> None:
    text = conditioning.encode_prompts(model, ["a woman smiles"])
    condition = conditioning.encode_condition(model.vae, torch.rand(1, 3, 64, 64) * 2 - 1, 5)
    velocity = sampling.velocities(model.experts, grid, text, condition)
    start = torch.randn(1, 48, 2, 4, 4, requires_grad=True)
    final = sampling.rollout(velocity, start, grid, start=grid.num_steps - 3)[-1]
    weights = torch.randn_like(final)
    (gradient,) = torch.autograd.grad((final * weights).sum(), start)
    assert float(gradient[:, :, 0].abs().max()) < 1e-4 * float(gradient[:, :, 1].abs().max())
    assert float(gradient[:, :, 1].abs().max()) > 0


def test_the_clip_s_own_first_frame_is_what_is_given(model: WanModel) -> None:
    video = torch.rand(1, 3, 5, 64, 64) * 2 - 1
    clean = conditioning.encode_video(model.vae, video)
    condition = conditioning.encode_condition(model.vae, video[:, :, 0], 5)
    assert_close(condition[:, 4:, :1], clean[:, :, :1], rtol=1e-5, atol=1e-5)
    assert not condition[:, 4:, 1:].any() and not condition[:, :4, 1:].any() and bool((condition[:, :4, 0] == 1).all())
    # so that a velocity learnt on real clips is exactly right where the frame is given
    noise, sigma = torch.randn_like(clean), torch.tensor([0.7])
    x = sampling.noise_level(clean, noise, 0.7)
    v = sampling.predict_velocity(model.experts["high_noise"], x, sigma, torch.randn(1, 4, 16), condition)
    assert_close(v[:, :, 0], (noise - clean)[:, :, 0], rtol=1e-4, atol=1e-4)


def test_decode_of_the_pipeline(model: WanModel) -> None:
    pipe = tiny_wan.single_pipeline()
    latents = torch.randn(1, 48, 2, 2, 2)
    with torch.no_grad():
        raw = vae_sequence.denormalise(pipe.vae, latents)
        want = pipe.vae.decode(raw, return_dict=False)[0]
        assert_close(vae_sequence.decode(model.vae, latents).clamp(-1, 1), want, rtol=1e-4, atol=1e-5)
