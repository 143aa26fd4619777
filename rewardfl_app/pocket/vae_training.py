"""Trains the pocket VAE: `AutoencoderKLWan` with 16 base channels, first on single frames, then on clips."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, WanResample
from torch import Tensor

from rewardfl_app.models import vae_sequence
from rewardfl_app.pocket.hardware import device
from rewardfl_app.pocket.optimizer import MuonAdamW
from rewardfl_app.pocket.pool import Pool
from rewardfl_app.pocket.progress import Progress

log = logging.getLogger(__name__)

CONFIG: dict[str, Any] = {
    "base_dim": 16,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
}
FACE_WEIGHT = 3.0  # an error on the face counts this many times
KL_WEIGHT = 3e-4


def new_vae() -> AutoencoderKLWan:
    """Untrained VAE that starts as an image model (older temporal taps at zero) with small posterior variance."""
    vae = AutoencoderKLWan(**CONFIG)
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, WanCausalConv3d) and module.kernel_size == (3, 3, 3):
                module.weight[:, :, :-1] = 0
        vae.quant_conv.bias[16:] = -4
    return vae


def start_clips(vae: AutoencoderKLWan) -> None:
    """Let the temporal resampling begin as the identity (down) and as repetition (up): an image model becomes a plain
    video model at once, and training only has to improve it."""
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, WanResample) and module.mode in ("upsample3d", "downsample3d"):
                kernel = module.time_conv.weight  # [C or 2C, C, 3, 1, 1]
                kernel.mul_(0.02)
                kernel[:, :, -1, 0, 0] += torch.eye(kernel.shape[1], device=kernel.device).repeat(
                    kernel.shape[0] // kernel.shape[1], 1
                )
                module.time_conv.bias.zero_()


def _batch(pool: Pool, rng: np.random.Generator, num_clips: int, num_frames: int) -> tuple[Tensor, Tensor]:
    """Video [B, 3, T, H, W] in [-1, 1] and its weight map [B, 1, T, H, W]."""
    which = rng.integers(len(pool.prompts), size=num_clips)
    starts = rng.integers(pool.frames.shape[1] - num_frames + 1, size=num_clips)
    frames = np.stack([pool.frames[i, s : s + num_frames] for i, s in zip(which, starts, strict=True)])
    boxes = np.stack([pool.boxes[i, s : s + num_frames] for i, s in zip(which, starts, strict=True)])
    if rng.random() < 0.5:
        frames, boxes = frames[:, :, :, ::-1], boxes.copy()
        boxes[..., [0, 2]] = frames.shape[3] - 1 - boxes[..., [2, 0]]
    axis = np.arange(frames.shape[2])
    rows = (axis >= boxes[..., 1:2] - 2) & (axis <= boxes[..., 3:4] + 2)
    columns = (axis >= boxes[..., 0:1] - 2) & (axis <= boxes[..., 2:3] + 2)
    weight = 1 + (FACE_WEIGHT - 1) * (rows[..., :, None] & columns[..., None, :])
    video = torch.from_numpy(np.ascontiguousarray(frames)).to(device()).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    return video, torch.from_numpy(weight.astype(np.float32)).to(device())[:, None]


def _loss(vae: AutoencoderKLWan, video: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted L1 + half the L1 of image gradients + KL; also the mean squared error of the face region."""
    with torch.autocast(video.device.type, dtype=torch.bfloat16):
        mean, logvar = vae_sequence.encode_raw(vae, video).chunk(2, 1)
        logvar = logvar.float().clamp(-20, 10)
        latents = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        output = vae_sequence.decode_raw(vae, latents)
    error = output.float() - video
    loss = (error.abs() * weight).sum() / weight.sum() / 3
    for axis in (3, 4):
        step = error.diff(dim=axis).abs() * weight.narrow(axis, 1, weight.shape[axis] - 1)
        loss = loss + 0.5 * step.mean()
    kl = 0.5 * (mean.float() ** 2 + logvar.exp() - 1 - logvar).mean()
    return loss + KL_WEIGHT * kl, (error.detach() ** 2 * (weight > 1)).sum() / ((weight > 1).sum() * 3)


def train(pool: Pool, folder: Path, num_image_steps: int = 1000, num_clip_steps: int = 330) -> AutoencoderKLWan:
    """Train (or go on training) in `folder`; returns the VAE with its latent statistics in the config."""
    torch.manual_seed(3)
    vae = new_vae().to(device())
    for parameter in vae.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    stages = (("vae_images", num_image_steps, 2e-3), ("vae_clips", num_clip_steps, 5e-4))
    for stage, num_steps, rate in stages:
        if stage == "vae_clips":
            start_clips(vae)
        optimizer = MuonAdamW(vae, rate, rate)
        progress = Progress(folder / f"{stage}.pt", num_steps, {"vae": vae, "optimizer": optimizer})
        for step in progress:
            rng = np.random.default_rng((num_steps, step))
            if stage == "vae_images":
                video, weight = _batch(pool, rng, 32, 1)
            else:
                video, weight = _batch(pool, rng, *((32, 1) if rng.random() < 0.25 else (3, 17)))
            loss, face_error = _loss(vae, video, weight)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.scale_rates(progress.warm_then_decay(step))
            optimizer.step()
            if step % 25 == 0:
                log.info(
                    "%s %d: loss %.4f, face PSNR %.2f dB",
                    stage,
                    step,
                    loss.item(),
                    10 * float(torch.log10(4 / face_error)),
                )
    _set_statistics(vae, pool)
    return vae.eval()


def _set_statistics(vae: AutoencoderKLWan, pool: Pool) -> None:
    """Mean and deviation of each latent channel over clips, so that normalised latents are of unit size."""
    with torch.no_grad():
        rng = np.random.default_rng(0)
        latents = torch.cat([vae_sequence.encode_raw(vae, _batch(pool, rng, 8, 17)[0])[:, :16] for _ in range(12)])
    vae.register_to_config(
        latents_mean=[round(float(v), 5) for v in latents.mean((0, 2, 3, 4))],
        latents_std=[round(float(v), 5) for v in latents.std((0, 2, 3, 4))],
    )
