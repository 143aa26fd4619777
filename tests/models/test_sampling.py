from __future__ import annotations

import numpy as np
import pytest
import tiny_wan
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from rewardfl_app.config.schema import Config, SamplingConfig
from rewardfl_app.models import conditioning, sampling, vae_sequence
from rewardfl_app.models.sampling import Grid
from rewardfl_app.models.wan import WanModel

SIGMAS = [1, 0.9722, 0.9375, 0.8929, 0.8333, 0.75, 0.625, 0.4167, 0]


def grid(final_timestep: int = 7) -> sampling.Grid:
    return sampling.Grid.of(Config(sampling=SamplingConfig(final_timestep=final_timestep)))


def test_the_grid_is_the_distilled_model_s() -> None:
    assert grid().sigmas == pytest.approx(SIGMAS, abs=1e-4)
    assert grid().experts == ("high_noise",) * 3 + ("low_noise",) * 5
    scheduler = FlowMatchEulerDiscreteScheduler(shift=5.0)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 8, 8))
    assert grid().sigmas == pytest.approx(scheduler.sigmas.tolist(), abs=1e-6)


@pytest.mark.parametrize("prompts", [["a woman smiles"], ["a woman smiles", "a man &amp;  turns"]])
@pytest.mark.parametrize("last", [False, True])
def test_equals_the_diffusers_pipeline_on_one_grid(model: WanModel, prompts: list[str], last: bool) -> None:
    image, end = torch.rand(2, 1, 3, 32, 48) * 2 - 1
    noise = torch.randn(len(prompts), 16, 3, 4, 6)
    last_image = (end + 1) / 2 if last else None
    want = tiny_wan.latents_of(tiny_wan.pipeline(), image, prompts, noise, last_image=last_image)
    text = conditioning.encode_prompts(model, prompts)
    condition = conditioning.encode_condition(model.vae, image, 9, end if last else None).expand(
        len(prompts), -1, -1, -1, -1
    )
    with torch.no_grad():
        velocity = sampling.velocities(model.experts, grid(), text, condition)
        latents = sampling.rollout(velocity, noise, grid())
    assert len(latents) == 9
    torch.testing.assert_close(latents[-1], want, rtol=1e-4, atol=1e-5)


def test_stopping_early_predicts_the_clean_latents(model: WanModel) -> None:
    text, condition = torch.randn(1, 16, 16), torch.randn(1, 20, 2, 4, 4)
    noise = torch.randn(1, 16, 2, 4, 4)
    short = grid(final_timestep=5)
    with torch.no_grad():
        full = sampling.rollout(sampling.velocities(model.experts, grid(), text, condition), noise, grid())
        latents = sampling.rollout(sampling.velocities(model.experts, short, text, condition), noise, short)
        v = sampling.velocities(model.experts, grid(), text, condition)(5, full[5])
    assert len(latents) == 7
    torch.testing.assert_close(latents[-1], full[5] - grid().sigmas[5] * v)


def test_decode_of_the_pipeline(model: WanModel) -> None:
    pipe = tiny_wan.pipeline()
    latents = torch.randn(1, 16, 2, 4, 4)
    mean = torch.tensor(pipe.vae.config.latents_mean).view(1, 16, 1, 1, 1)
    std = torch.tensor(pipe.vae.config.latents_std).view(1, 16, 1, 1, 1)
    with torch.no_grad():
        want = pipe.vae.decode(latents * std + mean).sample
        got = vae_sequence.decode(model.vae, latents)
    torch.testing.assert_close(got.clamp(-1, 1), want, rtol=1e-4, atol=1e-5)


def test_steps_together_are_the_steps_one_by_one(model: WanModel) -> None:
    """Two videos at three steps of one expert: each step keeps its own noise level, each video its text and picture."""
    grid = Grid((1.0, 0.9, 0.7, 0.4, 0.0), ("high_noise", "low_noise", "low_noise", "low_noise"))
    torch.manual_seed(0)
    given = model.experts, grid, torch.randn(2, 5, 16), torch.randn(2, 20, 2, 4, 4)
    steps, latents = [3, 1, 2], list(torch.randn(3, 2, 16, 2, 4, 4))
    with torch.no_grad():
        together = sampling.velocities_together(*given, steps, latents)
        for step, x, found in zip(steps, latents, together, strict=True):
            torch.testing.assert_close(found, sampling.velocities(*given)(step, x), rtol=1e-4, atol=1e-5)
        assert float((together[0] - sampling.velocities(*given)(1, latents[0])).norm()) > 1e-2


def test_noise_depends_on_its_key_alone() -> None:
    before = torch.get_rng_state()
    first = sampling.seeded_noise((4, 5), 42, 0, 1)
    assert torch.equal(first, sampling.seeded_noise((4, 5), 42, 0, 1))
    others = [
        sampling.seeded_noise((4, 5), *key) for key in [(42, 1, 0), (42, 0, 2), (43, 0, 1), (42, 1, 1), (0, 0, 0)]
    ]
    assert all((first - other).abs().max() > 0.1 for other in others)
    assert torch.equal(before, torch.get_rng_state())
