"""What the transformers are conditioned on: the prompt's encoding, and mask + latents of the given frames.

Both are what diffusers' WanImageToVideoPipeline computes (`_get_t5_prompt_embeds`, `prepare_latents`), for a batch.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import ftfy
import torch
from torch import Tensor

from rewardfl_app.config.family import TEMPORAL_FACTOR
from rewardfl_app.models import vae_sequence

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    from rewardfl_app.models.wan import WanModel


def clean_prompt(prompt: str) -> str:
    """The prompt as the Wan pipelines clean it: broken unicode and HTML entities repaired, white space collapsed."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
    return re.sub(r"\s+", " ", text).strip()


@torch.no_grad()
def encode_prompts(model: WanModel, prompts: Sequence[str]) -> Tensor:
    """Text encodings [B, L, D], zero after the last token of each prompt, L = model.max_sequence_length."""
    tokens = model.tokenizer(
        [clean_prompt(prompt) for prompt in prompts],
        padding="max_length",
        max_length=model.max_sequence_length,
        truncation=True,
        add_special_tokens=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    mask = tokens.attention_mask.to(model.device)
    encoded = model.text_encoder(tokens.input_ids.to(model.device), mask).last_hidden_state
    return encoded * mask.unsqueeze(-1).to(encoded.dtype)


@torch.no_grad()
def encode_condition(
    vae: AutoencoderKLWan, first_frame: Tensor, num_frames: int, last_frame: Tensor | None = None
) -> Tensor:
    """Mask (4 channels, 1 where a frame is given) and condition latents (C of the VAE): [B, 4 + C, T', h, w], float32.

    Where the given frame itself takes the place of its latents (the VAE of Wan2.2-5B), it is encoded by itself, and the
    other condition latents are zero.

    Args:
        first_frame: [B, 3, H, W] in [-1, 1]. last_frame: the same, or None.
        num_frames: frames of the video to be generated, 4k+1.
    """
    if vae.config["is_residual"]:
        first = vae_sequence.encode(vae, first_frame[:, :, None])
        after = (num_frames - 1) // TEMPORAL_FACTOR
        latents = torch.cat([first, first.new_zeros(*first.shape[:2], after, *first.shape[3:])], dim=2)
    else:
        video = first_frame.new_zeros(first_frame.shape[0], 3, num_frames, *first_frame.shape[2:])
        video[:, :, 0] = first_frame
        if last_frame is not None:
            video[:, :, -1] = last_frame
        latents = vae_sequence.encode(vae, video)
    mask = latents.new_zeros(latents.shape[0], TEMPORAL_FACTOR, *latents.shape[2:])
    mask[:, :, 0] = 1
    if last_frame is not None:
        mask[:, TEMPORAL_FACTOR - 1, -1] = 1
    return torch.cat([mask, latents], dim=1)


@torch.no_grad()
def encode_video(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """Normalised latents [B, C, T', h, w], float32, of real clips [B, 3, T, H, W] in [-1, 1]."""
    return vae_sequence.encode(vae, video)


def latent_shape(condition: Tensor) -> tuple[int, int, int, int]:
    """[C, T', h, w] of the latents that are sampled under a condition [4 + C, T', h, w]."""
    channels, frames, height, width = condition.shape
    return channels - TEMPORAL_FACTOR, frames, height, width
