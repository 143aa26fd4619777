"""Weights that train in float32 in a network that computes in bfloat16.

What is lowered, and where, is what the frozen network has in bfloat16: layers that diffusers keeps in float32 stay
there, so the first forward pass equals the frozen network's to the last bit. torch.autocast would lower those layers
too, and would keep a copy of every weight for as long as it is on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

_ATTRIBUTE = "lowered_to"


class _Lowered:
    """The forward pass of one layer with its weights cast; they are cast again wherever the layer runs again."""

    def __init__(self, layer: nn.Module, dtypes: Mapping[str, torch.dtype]) -> None:
        self._layer = layer
        self._dtypes = dtypes

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        own = self._layer._parameters
        kept = {name: own[name] for name in self._dtypes}
        for name, dtype in self._dtypes.items():
            own[name] = kept[name].to(dtype)  # type: ignore[union-attr,assignment]
        try:
            return type(self._layer).forward(self._layer, *inputs, **named)
        finally:
            own.update(kept)


def train_in_float32(network: nn.Module) -> None:
    """Makes every weight float32 and trainable; the network computes in the types its weights had."""
    dtype = compute_dtype(network)
    for layer in network.modules():
        lowered = {
            name: weight.dtype
            for name, weight in layer._parameters.items()
            if weight is not None and weight.dtype != torch.float32
        }
        if lowered:
            layer.forward = _Lowered(layer, lowered)
    network.float().requires_grad_(True)
    setattr(network, _ATTRIBUTE, dtype)


def compute_dtype(network: nn.Module) -> torch.dtype:
    """The type a transformer's latents and text are given in: that of most of its weights."""
    return getattr(network, _ATTRIBUTE, None) or network.proj_out.weight.dtype  # type: ignore[union-attr,return-value]
