"""The decoder in chunks against the decoder in one piece and against diffusers."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import tiny_wan
import torch
from diffusers.models.autoencoders import autoencoder_kl_wan
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from rewardfl_app.models import vae_sequence, vae_stream
from rewardfl_app.models.vae_stream import ChunkedDecode


@pytest.fixture(params=["wan2.1", "wan2.2-5b"])
def vae(request: pytest.FixtureRequest) -> AutoencoderKLWan:
    torch.manual_seed(0)
    made = tiny_wan.vae() if request.param == "wan2.1" else tiny_wan.residual_vae()
    return made.eval().requires_grad_(False)


def streamed(vae: AutoencoderKLWan, latents: torch.Tensor, size: int) -> tuple[torch.Tensor, ChunkedDecode]:
    decode = ChunkedDecode(vae, latents, size)
    places, parts = zip(*decode.frames(), strict=True)
    assert [frame for place in places for frame in place] == list(range(decode.num_frames))
    return torch.cat(parts, dim=2), decode


@pytest.mark.parametrize(("frames", "size"), [(1, 1), (5, 1), (5, 2), (6, 4), (3, 5)])
def test_chunks_are_the_frames_that_diffusers_decodes(
    vae: AutoencoderKLWan, frames: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = 3 * torch.randn(2, 16, frames, 4, 6)
    got, _ = streamed(vae, latents, size)
    torch.testing.assert_close(got, vae_sequence.decode(vae, latents), rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(autoencoder_kl_wan.torch, "clamp", lambda x, min, max: x)
    want = vae.decode(vae_sequence.denormalise(vae, latents)).sample
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 6])
def test_one_latent_frame_at_a_time_is_the_whole_video(vae: AutoencoderKLWan, frames: int) -> None:
    latents = 3 * torch.randn(2, 16, frames, 4, 6)
    got = vae_stream.decode_streamed(vae, latents)
    torch.testing.assert_close(got, vae_stream.decode_all(vae, latents), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("batch", "frames", "size"), [(1, 3, 1), (2, 7, 1), (1, 6, 2), (2, 5, 4)])
def test_the_gradient_is_that_of_one_graph(vae: AutoencoderKLWan, batch: int, frames: int, size: int) -> None:
    vae = vae.double()
    latents = torch.randn(batch, 16, frames, 2, 4, dtype=torch.float64, requires_grad=True)
    video = vae_sequence.decode_raw(vae, vae_sequence.denormalise(vae, latents))
    target = torch.randn_like(video)
    (want,) = torch.autograd.grad((video - target).square().sum(), latents)
    _, decode = streamed(vae, latents, size)
    got = decode.pull_back(lambda place, part: 2 * (part - target[:, :, place.start : place.stop]), lambda place: True)
    assert (got - want).norm() <= 1e-10 * want.norm()


def test_only_what_is_wanted_is_asked_for_and_the_rest_is_zero(vae: AutoencoderKLWan) -> None:
    vae = vae.double()
    latents = torch.randn(1, 16, 8, 2, 4, dtype=torch.float64, requires_grad=True)
    video = vae_sequence.decode_raw(vae, vae_sequence.denormalise(vae, latents))
    weight = torch.randn_like(video)
    weight[:, :, :9] = weight[:, :, 13:] = 0
    (want,) = torch.autograd.grad((video * weight).sum(), latents)
    _, decode = streamed(vae, latents, 1)
    asked: list[range] = []

    def gradient(place: range, frames: torch.Tensor) -> torch.Tensor:
        asked.append(place)
        return weight[:, :, place.start : place.stop]

    got = decode.pull_back(gradient, lambda place: 9 in place)
    assert asked == [range(9, 13)]
    assert (got - want).norm() <= 1e-10 * want.norm() and float(got[:, :, 4:].abs().max()) == 0


def test_what_each_chunk_leaves_behind_is_kept_for_few_and_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = tiny_wan.vae().eval().requires_grad_(False)
    latents = torch.randn(1, 16, 9, 4, 4)
    calls: list[bool] = []
    real = vae_stream.decode_chunk

    def counted(*given: Any) -> Any:
        calls.append(torch.is_grad_enabled())
        return real(*given)

    monkeypatch.setattr(vae_stream, "decode_chunk", counted)
    _, decode = streamed(vae, latents, 1)
    assert len(decode._kept) == 2
    decode.pull_back(lambda place, frames: torch.ones_like(frames), lambda place: True)
    assert calls.count(True) == 9 and calls.count(False) <= 9 + 9 and not decode._kept


def test_bfloat16_stays_bfloat16_inside_and_float32_outside() -> None:
    torch.manual_seed(0)
    vae = tiny_wan.vae().eval().requires_grad_(False).bfloat16()
    latents = torch.randn(1, 16, 4, 4, 4)
    got, decode = streamed(vae, latents, 2)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, vae_sequence.decode(vae, latents), rtol=0.05, atol=0.05)
    assert decode.pull_back(lambda place, frames: torch.ones_like(frames), lambda place: True).dtype == torch.float32


def test_of_the_chunk_before_only_what_goes_on_is_alive(vae: AutoencoderKLWan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of the gradients of a convolution's input would keep all of it in memory."""
    given: list[weakref.ref[torch.Tensor]] = []
    grad = torch.autograd.grad

    def noting(*arguments: Any, **options: Any) -> Any:
        assert all(found() is None for found in given)
        found = grad(*arguments, **options)
        given[:] = [weakref.ref(part) for part in found[1:]]
        return found

    decode = ChunkedDecode(vae, torch.randn(1, 16, 4, 4, 4), 1)
    for _ in decode.frames():
        pass
    monkeypatch.setattr(torch.autograd, "grad", noting)
    decode.pull_back(lambda place, frames: torch.ones_like(frames), lambda place: True)
    assert len(given) == 0  # the first chunk has nothing before it
