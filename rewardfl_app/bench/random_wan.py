"""Wan2.2's networks at their released sizes with random weights: what they cost can be measured without them."""

from __future__ import annotations

from typing import TypeVar

import torch
from accelerate import init_empty_weights
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from rewardfl_app.models.original_vae import MEAN_48, STD_48
from rewardfl_app.models.wan import WanVae
from rewardfl_app.planning.network_sizes import NETWORKS, Network

Module = TypeVar("Module", bound=nn.Module)

RELEASED = {name: network for name, network in NETWORKS.items() if name != "pocket"}
_STATISTICS = {"latents_mean": [*MEAN_48], "latents_std": [*STD_48]}


def transformer(network: Network, layers: int, dtype: torch.dtype, device: torch.device) -> WanTransformer3DModel:
    """A frozen transformer with so many of its layers, in the number formats that the released weights have here."""
    with init_empty_weights():
        empty = WanTransformer3DModel(**{**network.transformer, "num_layers": layers})
    kept = set(WanTransformer3DModel._keep_in_fp32_modules or ())
    return _filled(empty, dtype, device, kept)


def vae(network: Network, dtype: torch.dtype, device: torch.device) -> WanVae:
    """A frozen VAE without its encoder, as it is while training."""
    with init_empty_weights():
        empty = WanVae(**network.vae, **(_STATISTICS if network.vae["z_dim"] == len(MEAN_48) else {}))
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
