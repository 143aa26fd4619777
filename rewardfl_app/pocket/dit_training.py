"""Trains the pocket experts: one `WanTransformer3DModel` over all noise levels, then forked into high and low noise."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn
from transformers import T5TokenizerFast, UMT5EncoderModel

from rewardfl_app.models.vae_sequence import encode
from rewardfl_app.pocket import text
from rewardfl_app.pocket.hardware import device
from rewardfl_app.pocket.optimizer import MuonAdamW
from rewardfl_app.pocket.pool import Pool
from rewardfl_app.pocket.progress import Progress

log = logging.getLogger(__name__)

CONFIG: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 6,
    "attention_head_dim": 32,
    "in_channels": 36,
    "out_channels": 16,
    "text_dim": 64,
    "freq_dim": 64,
    "ffn_dim": 768,
    "num_layers": 6,
    "cross_attn_norm": True,
    "rope_max_seq_len": 64,
}
BOUNDARY = 0.9
SHIFT = 5.0
EMA_DECAY = 0.995
NUM_CLIPS = 2000


@dataclass(frozen=True)
class Latents:
    """Normalised `video` and `condition` latents [N, 16, T', h, w] of clips (condition: first frame, then zeros)."""

    video: Tensor
    condition: Tensor


@torch.no_grad()
def encode_pool(vae: AutoencoderKLWan, pool: Pool, path: Path, num_clips: int = NUM_CLIPS, batch: int = 8) -> Latents:
    """Modes of the first clips of the pool, and of their first frames followed by zeros; kept at `path`."""
    if path.exists():
        stored = torch.load(path, weights_only=True)
        return Latents(stored["video"], stored["condition"])
    half = copy.deepcopy(vae).to(
        device(), torch.bfloat16
    )  # twice as fast, and exact to a hundredth of a latent's deviation
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for start in range(0, num_clips, batch):
        video = (
            torch.from_numpy(np.array(pool.frames[start : start + batch])).to(device()).permute(0, 4, 1, 2, 3).float()
            / 127.5
            - 1
        )
        first_only = torch.zeros_like(video)
        first_only[:, :, :1] = video[:, :, :1]
        for part, frames in zip(parts, (video, first_only), strict=True):
            part.append(encode(half, frames).half().cpu())
        if start % 400 == 0:
            log.info("latents: %d of %d clips", start, num_clips)
    latents = Latents(torch.cat(parts[0]), torch.cat(parts[1]))
    torch.save({"video": latents.video, "condition": latents.condition}, path)
    return latents


class Base(nn.Module):
    """A transformer with its text encoder: noisy latents, condition and prompt to velocity."""

    def __init__(self, transformer: WanTransformer3DModel, text_encoder: UMT5EncoderModel) -> None:
        super().__init__()
        self.transformer, self.text_encoder = transformer, text_encoder

    def forward(self, noisy: Tensor, condition: Tensor, sigma: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        first = torch.zeros_like(condition[:, :4])
        first[:, :, 0] = 1
        embedded = self.text_encoder(tokens, mask).last_hidden_state * mask[..., None]
        inputs = torch.cat([noisy, first, condition], 1)
        return self.transformer(inputs, 1000 * sigma, embedded, return_dict=False)[0]


def sample_sigmas(rng: np.random.Generator, count: int, low: float, high: float) -> Tensor:
    """Noise levels in [low, high): stratified in u, with the sampler's shift."""

    def position(sigma: float) -> float:
        return sigma / (SHIFT - (SHIFT - 1) * sigma)

    u = (np.arange(count) + rng.random(count)) / count
    u = position(low) + (position(high) - position(low)) * u
    return torch.from_numpy((SHIFT * u / (1 + (SHIFT - 1) * u)).astype(np.float32))


def train(
    vae: AutoencoderKLWan,
    pool: Pool,
    folder: Path,
    num_shared_steps: int = 950,
    num_expert_steps: tuple[int, int] = (150, 450),
    batch: int = 24,
    num_clips: int = NUM_CLIPS,
) -> tuple[WanTransformer3DModel, WanTransformer3DModel, UMT5EncoderModel, T5TokenizerFast]:
    """Train (or go on) in `folder`; returns both experts (averaged), high noise first, text encoder and tokenizer."""
    torch.manual_seed(5)
    latents = encode_pool(vae, pool, folder / "latents.pt", num_clips)
    tokenizer = text.new_tokenizer()
    encoded = tokenizer(
        pool.prompts[: len(latents.video)],
        padding="max_length",
        max_length=text.MAX_TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    data = (latents, encoded.input_ids, encoded.attention_mask)
    base = Base(WanTransformer3DModel(**CONFIG), text.new_text_encoder(len(tokenizer)))
    shared = _train_part(base, data, folder / "dit_shared.pt", num_shared_steps, (0.0, 1.0), batch, 2e-3, seed=1)
    shared.text_encoder.requires_grad_(False)
    high = _train_part(
        copy.deepcopy(shared), data, folder / "dit_high.pt", num_expert_steps[0], (BOUNDARY, 1.0), batch, 1e-3, seed=2
    )
    low = _train_part(
        copy.deepcopy(shared), data, folder / "dit_low.pt", num_expert_steps[1], (0.0, BOUNDARY), batch, 1e-3, seed=3
    )
    return high.transformer, low.transformer, shared.text_encoder, tokenizer


def _train_part(
    base: Base,
    data: tuple[Latents, Tensor, Tensor],
    path: Path,
    num_steps: int,
    levels: tuple[float, float],
    batch: int,
    rate: float,
    seed: int,
) -> Base:
    """Flow matching on noise levels in `levels`; returns the moving average of the weights."""
    latents, tokens, masks = data
    base = base.to(device())
    optimizer = MuonAdamW(base, rate, rate)
    average = copy.deepcopy(base)

    def loss_of(x0: Tensor, noise: Tensor, condition: Tensor, sigma: Tensor, token: Tensor, mask: Tensor) -> Tensor:
        level = sigma[:, None, None, None, None]
        velocity = base((1 - level) * x0 + level * noise, condition, sigma, token, mask)
        return ((velocity - (noise - x0)) ** 2).mean()

    progress = Progress(path, num_steps, {"base": base, "average": average, "optimizer": optimizer})
    for step in progress:
        rng = np.random.default_rng((seed, step))
        which = torch.from_numpy(rng.integers(len(latents.video), size=batch))
        noise = torch.from_numpy(rng.standard_normal((batch, *latents.video.shape[1:]), dtype=np.float32))
        inputs = (
            latents.video[which].float(),
            noise,
            latents.condition[which].float(),
            sample_sigmas(rng, batch, *levels),
            tokens[which],
            masks[which],
        )
        loss = loss_of(*(tensor.to(device()) for tensor in inputs))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in base.parameters() if p.requires_grad], 1.0)
        optimizer.scale_rates(progress.warm_then_decay(step))
        optimizer.step()
        decay = min(EMA_DECAY, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), base.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
        if step % 25 == 0:
            log.info("%s %d: loss %.4f", path.stem, step, loss.item())
    return average
