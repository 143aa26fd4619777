from __future__ import annotations

import pytest
import tiny_wan
import torch
from diffusers.models.autoencoders import autoencoder_kl_wan
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from rewardfl_app.models import vae_sequence


@pytest.fixture(params=["wan2.1", "wan2.2-5b"])
def vae(request: pytest.FixtureRequest) -> AutoencoderKLWan:
    torch.manual_seed(0)
    made = tiny_wan.vae() if request.param == "wan2.1" else tiny_wan.residual_vae()
    return made.eval().requires_grad_(False)


def unclamped_decode(vae: AutoencoderKLWan, latents: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    monkeypatch.setattr(autoencoder_kl_wan.torch, "clamp", lambda x, min, max: x)
    out = vae.decode(latents).sample
    monkeypatch.undo()
    return out


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (1, 3), (2, 5)])
def test_decode_equals_diffusers_without_the_clamp(
    vae: AutoencoderKLWan, batch: int, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = 3 * torch.randn(batch, 16, frames, 4, 6, requires_grad=True)
    want = unclamped_decode(vae, latents, monkeypatch)
    got = vae_sequence.decode_raw(vae, latents)
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    weight = torch.randn_like(want)
    (want_gradient,) = torch.autograd.grad((want * weight).sum(), latents)
    (gradient,) = torch.autograd.grad((got * weight).sum(), latents)
    torch.testing.assert_close(gradient, want_gradient, rtol=1e-4, atol=1e-4 * want_gradient.abs().max().item())


@pytest.mark.parametrize("frames", [1, 9, 17])
def test_encode_equals_diffusers(vae: AutoencoderKLWan, frames: int) -> None:
    video = torch.rand(2, 3, frames, 32, 32) * 2 - 1
    want = vae.encode(video).latent_dist.mode()
    mean = torch.tensor(vae.config.latents_mean).view(1, 16, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, 16, 1, 1, 1)
    got = vae_sequence.encode(vae, video)
    torch.testing.assert_close(got, (want - mean) / std, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(vae_sequence.denormalise(vae, got), want, rtol=1e-5, atol=1e-5)


def test_pixels_beyond_the_range_keep_their_gradient() -> None:
    torch.manual_seed(0)
    vae = tiny_wan.vae().eval()
    with torch.no_grad():
        vae.decoder.conv_out.bias.fill_(5.0)
    latents = torch.randn(1, 16, 2, 4, 4, requires_grad=True)
    frames = vae_sequence.decode(vae, latents)
    assert frames.min() > 1
    frames.sum().backward()
    assert latents.grad is not None and latents.grad.abs().max() > 0
