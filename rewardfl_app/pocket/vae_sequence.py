"""`AutoencoderKLWan` over whole clips in one differentiable pass, for training it.

diffusers encodes and decodes frame group by frame group with a mutable cache. The convolutions are causal, so one pass
over all frames gives the same numbers; only the temporal resampling treats frame 0 apart. A single frame needs only
the newest temporal tap of each kernel, which makes it a 2-D network, several times cheaper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanCausalConv3d,
    WanMidBlock,
    WanResample,
    WanResidualBlock,
)
from torch import Tensor


def _conv(module: WanCausalConv3d, x: Tensor) -> Tensor:
    if x.shape[2] > 1:
        return module(x)
    out = F.conv2d(x[:, :, 0], module.weight[:, :, -1], module.bias, padding=(module._padding[2], module._padding[0]))
    return out[:, :, None]


def _residual(block: WanResidualBlock, x: Tensor) -> Tensor:
    shortcut = x if isinstance(block.conv_shortcut, torch.nn.Identity) else _conv(block.conv_shortcut, x)
    h = _conv(block.conv1, block.nonlinearity(block.norm1(x)))
    return shortcut + _conv(block.conv2, block.nonlinearity(block.norm2(h)))


def _middle(block: WanMidBlock, x: Tensor) -> Tensor:
    x = _residual(block.resnets[0], x)
    for attention, residual in zip(block.attentions, block.resnets[1:], strict=True):
        x = _residual(residual, attention(x))
    return x


def _resample(module: WanResample, x: Tensor) -> Tensor:
    if module.mode == "upsample3d" and x.shape[2] > 1:
        first, rest = x[:, :, :1], module.time_conv(x[:, :, 1:])
        batch, channels, frames, height, width = rest.shape
        rest = rest.reshape(batch, 2, channels // 2, frames, height, width).permute(0, 2, 3, 1, 4, 5)
        x = torch.cat([first, rest.reshape(batch, channels // 2, 2 * frames, height, width)], 2)
    x = module(x)  # without a cache this is the spatial part alone
    if module.mode == "downsample3d" and x.shape[2] > 1:
        x = torch.cat([x[:, :, :1], module.time_conv(x)], 2)
    return x


def encode(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """Moments [B, 2*z, T', H/8, W/8] of `video` [B, 3, T, H, W] in [-1, 1], T = 4k+1, T' = k+1."""
    encoder = vae.encoder
    x = _conv(encoder.conv_in, video)
    for block in encoder.down_blocks:
        x = _resample(block, x) if isinstance(block, WanResample) else _residual(block, x)
    x = encoder.nonlinearity(encoder.norm_out(_middle(encoder.mid_block, x)))
    return vae.quant_conv(_conv(encoder.conv_out, x))


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Video [B, 3, T, H, W], not clamped, of raw (not normalised) `latents` [B, z, T', H/8, W/8]."""
    decoder = vae.decoder
    x = _middle(decoder.mid_block, _conv(decoder.conv_in, vae.post_quant_conv(latents)))
    for block in decoder.up_blocks:
        for residual in block.resnets:
            x = _residual(residual, x)
        if block.upsamplers is not None:
            x = _resample(block.upsamplers[0], x)
    return _conv(decoder.conv_out, decoder.nonlinearity(decoder.norm_out(x)))
