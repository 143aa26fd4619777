"""Wan2.2's networks at their released sizes with random weights: what they cost can be measured without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from rewardfl_app.models.original_vae import MEAN_48, STD_48
from rewardfl_app.models.wan import WanVae

TEXT_TOKENS = 512

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Sizes:
    """Arguments of the released transformer and VAE of a family."""

    transformer: dict[str, Any]
    vae: dict[str, Any]


# Of the config.json files of Wan-AI/Wan2.2-I2V-A14B-Diffusers and Wan-AI/Wan2.2-TI2V-5B-Diffusers.
_SHARED = {"patch_size": (1, 2, 2), "attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256}
_RESIDUAL = {"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12}
SIZES = {
    "wan2_2": Sizes(
        {**_SHARED, "num_attention_heads": 40, "ffn_dim": 13824, "in_channels": 36, "out_channels": 16,
         "num_layers": 40},
        {"base_dim": 96, "z_dim": 16},
    ),
    "wan2_2_5b": Sizes(
        {**_SHARED, "num_attention_heads": 24, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48,
         "num_layers": 30},
        {**_RESIDUAL, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16, "latents_mean": [*MEAN_48],
         "latents_std": [*STD_48]},
    ),
}  # fmt: skip


def transformer(sizes: Sizes, layers: int, dtype: torch.dtype, device: torch.device) -> WanTransformer3DModel:
    """A frozen transformer with so many of its layers, in the number formats that the released weights have here."""
    with init_empty_weights():
        empty = WanTransformer3DModel(**{**sizes.transformer, "num_layers": layers})
    kept = set(WanTransformer3DModel._keep_in_fp32_modules or ())
    return _filled(empty, dtype, device, kept)


def vae(sizes: Sizes, dtype: torch.dtype, device: torch.device) -> WanVae:
    """A frozen VAE without its encoder, as it is while training."""
    with init_empty_weights():
        empty = WanVae(**sizes.vae)
    empty.leave_encoder(lambda: empty)
    return _filled(empty, dtype, device, set())


def _filled(empty: Module, dtype: torch.dtype, device: torch.device, kept: set[str]) -> Module:
    """Random values of about the size that learnt ones have, so that numbers stay in range."""
    generator = torch.Generator(device=device).manual_seed(0)
    for path, owner in empty.named_modules():
        for name, weight in owner._parameters.items():
            if weight is None:
                continue
            wanted = torch.float32 if kept & {*path.split("."), name} else dtype
            values = torch.empty(weight.shape, dtype=wanted, device=device)
            scale = 0.5 * max(1, weight[0].numel()) ** -0.5 if weight.ndim > 1 else 0.02
            if name == "gamma" or (weight.ndim == 1 and name == "weight"):
                values.fill_(1.0)
            else:
                values.normal_(0, scale, generator=generator)
            owner._parameters[name] = nn.Parameter(values, requires_grad=False)
        for name, buffer in owner._buffers.items():
            owner._buffers[name] = None if buffer is None else buffer.to(device)
    return empty.eval()
