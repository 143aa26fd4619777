"""The Wan VAE over a whole clip in one pass, unclamped and differentiable.

diffusers' `_encode` and `_decode` walk the clip frame by frame with a mutable cache that stands for the left context
of each causal convolution. Zero left padding of the whole sequence is the same thing, except where time is resampled:
there the first frame goes past the temporal convolution. Larger batches of work run several times faster on a CPU, and
the graph is an ordinary one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanResample,
    WanResidualBlock,
    WanUpsample,
    patchify,
    unpatchify,
)
from torch import Tensor

from rewardfl_app.models import doubled_conv, frozen_conv
from rewardfl_app.models.norm_silu import norm_silu

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, WanMidBlock


class Past(Protocol):
    """What lies to the left of a piece of a clip."""

    @property
    def is_start(self) -> bool:
        """Whether the piece begins the clip, so that there is nothing."""

    def convolve(self, conv: WanCausalConv3d, x: Tensor) -> Tensor:
        """A causal convolution of a piece [B, C, t, h, w] that goes on from where the last one ended; t may be 0."""


class _Whole:
    """A piece that is the whole clip: the convolutions' own zeros."""

    is_start = True

    def convolve(self, conv: WanCausalConv3d, x: Tensor) -> Tensor:
        return frozen_conv.causal(conv, x) if x.shape[2] else x


WHOLE = _Whole()


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Frames [B, 3, T, H, W] of normalised latents [B, 16, T', h, w], T = 4 (T' - 1) + 1.

    RGB, nominally [-1, 1] but not clamped: a clamped pixel would get no gradient.
    """
    raw = denormalise(vae, latents).to(vae.dtype)
    # One clip's arrays stay in a CPU's caches, and its convolutions go clip by clip anyway (see frozen_conv).
    parts = raw.split(1) if raw.device.type == "cpu" else [raw]
    return at_least_float32(torch.cat([decode_raw(vae, part) for part in parts]))


def decode_raw(vae: AutoencoderKLWan, latents: Tensor, past: Past = WHOLE) -> Tensor:
    """`AutoencoderKLWan._decode` without its clamp: latents in the VAE's own scale, in the VAE's dtype.

    `past`: what the causal convolutions see to the left, where the latents do not begin a clip.
    """
    decoder = vae.decoder
    x = past.convolve(decoder.conv_in, fast_layout(vae.post_quant_conv(latents)))
    x = _middle(decoder.mid_block, x, past)
    block: Any  # of either VAE generation
    for block in decoder.up_blocks:
        shortcut = getattr(block, "avg_shortcut", None)
        skipped = shortcut(x, first_chunk=past.is_start) if shortcut is not None else None
        for resnet in block.resnets:
            x = _residual(resnet, x, past)
        upsamplers = getattr(block, "upsamplers", None)
        upsampler = upsamplers[0] if upsamplers is not None else getattr(block, "upsampler", None)
        if upsampler is not None:
            x = _upsample(upsampler, x, past)
        if skipped is not None:
            x = x + skipped
    x = past.convolve(decoder.conv_out, norm_silu(decoder.norm_out, x))
    return unpatchify(x, patch_size=vae.config["patch_size"]) if vae.config["patch_size"] is not None else x


def encode(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """Normalised latents (the mode) [B, 16, T', h, w], float32, of a video [B, 3, T, H, W] in [-1, 1], T = 4 (T' - 1)
    + 1."""
    video = video.to(vae.dtype)
    parts = video.split(1) if video.device.type == "cpu" else [video]
    moments = torch.cat([encode_raw(vae, part) for part in parts]).float()
    return normalise(vae, moments.chunk(2, dim=1)[0])


def encode_raw(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """`AutoencoderKLWan._encode` in one pass: mean and log variance [B, 32, T', h, w] in the VAE's dtype."""
    # The Wan2.2-5B encoder averages over time from the first frame of each chunk on, which one pass does not reproduce.
    # On an accelerator one pass over a long clip would need more memory than a training step.
    if vae.config["is_residual"] or video.device.type != "cpu":
        return vae._encode(video)
    encoder = vae.encoder
    x = patchify(video, patch_size=vae.config["patch_size"]) if vae.config["patch_size"] is not None else video
    x = frozen_conv.causal(encoder.conv_in, fast_layout(x))
    for layer in encoder.down_blocks:
        if isinstance(layer, WanResample):
            x = _downsample(layer, x)
        else:
            x = _residual(layer, x) if isinstance(layer, WanResidualBlock) else layer(x)
    x = _middle(encoder.mid_block, x)
    x = frozen_conv.causal(encoder.conv_out, norm_silu(encoder.norm_out, x))
    return vae.quant_conv(x)


def at_least_float32(frames: Tensor) -> Tensor:
    """The frames in a precision that a gradient can be taken in."""
    return frames.to(torch.promote_types(frames.dtype, torch.float32))


def pixels_per_latent(vae: AutoencoderKLWan) -> int:
    """Pixels of a frame that one latent stands for, along each side."""
    return int(vae.config["scale_factor_spatial"])


def normalise(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """From the VAE's own scale to the transformers' (per channel mean 0, deviation 1)."""
    mean, std = _statistics(vae, latents)
    return (latents - mean) / std


def denormalise(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """The inverse of `normalise`."""
    mean, std = _statistics(vae, latents)
    return latents * std + mean


def _statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    shape = (1, vae.config["z_dim"], 1, 1, 1)
    mean = torch.tensor(vae.config["latents_mean"], device=like.device, dtype=like.dtype).view(shape)
    return mean, torch.tensor(vae.config["latents_std"], device=like.device, dtype=like.dtype).view(shape)


def _middle(block: WanMidBlock, x: Tensor, past: Past = WHOLE) -> Tensor:
    resnets: list[Any] = list(block.resnets)
    x = _residual(resnets[0], x, past)
    for attention, resnet in zip(block.attentions, resnets[1:], strict=True):
        x = _residual(resnet, attention(x), past)
    return x


def _residual(block: WanResidualBlock, x: Tensor, past: Past = WHOLE) -> Tensor:
    hidden = past.convolve(block.conv1, norm_silu(block.norm1, x))
    return past.convolve(block.conv2, norm_silu(block.norm2, hidden)) + _shortcut(block, x)


def _shortcut(block: WanResidualBlock, x: Tensor) -> Tensor:
    conv = block.conv_shortcut
    return conv(x) if isinstance(conv, torch.nn.Identity) else frozen_conv.causal(conv, x)


def fast_layout(x: Tensor) -> Tensor:
    # In which each frame is a picture that frozen_conv can take without a copy.
    return x.contiguous(memory_format=torch.channels_last_3d) if x.device.type == "cpu" else x


def _upsample(layer: WanResample, x: Tensor, past: Past) -> Tensor:
    if layer.mode == "upsample3d":
        # The clip's first frame stays one frame.
        first, rest = (x[:, :, :1], x[:, :, 1:]) if past.is_start else (x[:, :, :0], x)
        doubled = past.convolve(layer.time_conv, fast_layout(rest))
        if rest.shape[2]:
            batch, channels, frames, height, width = rest.shape
            pairs = doubled.reshape(batch, 2, channels, frames, height, width)
            rest = torch.stack((pairs[:, 0], pairs[:, 1]), 3).reshape(batch, channels, 2 * frames, height, width)
            x = fast_layout(torch.cat([first, rest], dim=2))
    return _each_frame(layer, x)


def _downsample(layer: WanResample, x: Tensor) -> Tensor:
    x = _each_frame(layer, x)
    if layer.mode == "downsample3d" and x.shape[2] > 1:
        x = torch.cat([x[:, :, :1], layer.time_conv(x)], dim=2)
    return x


def _each_frame(layer: WanResample, x: Tensor) -> Tensor:
    batch, channels, frames, height, width = x.shape
    images = x.permute(0, 2, 1, 3, 4).reshape(batch * frames, channels, height, width)
    resize, conv = layer.resample
    if isinstance(resize, WanUpsample) and doubled_conv.fits(resize, conv, images):
        images = doubled_conv.convolve(images, conv.weight, conv.bias)
    else:
        images = frozen_conv.pictures(conv, resize(images))
    return images.view(batch, frames, *images.shape[1:]).permute(0, 2, 1, 3, 4)
