"""How many threads a transformer keeps busy on a CPU: with few tokens they wait for each other more than they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

# Operations of one linear layer that are worth another thread: half a millisecond of work.
_WORTH = 5e7


@contextmanager
def suited_to(expert: WanTransformer3DModel, latents: Tensor) -> Iterator[None]:
    """Inside, PyTorch's operations on a CPU are divided among no more threads than pays for these latents [B, C, T, h,
    w]; also those of a backward pass."""
    before = torch.get_num_threads()
    if before == 1 or latents.device.type != "cpu":
        yield
        return
    torch.set_num_threads(max(min(int(_operations(expert, latents) / _WORTH), before), 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _operations(expert: WanTransformer3DModel, latents: Tensor) -> float:
    """Of a linear layer from width to width: 2 tokens width^2."""
    config = expert.config
    patch_frames, patch_rows, patch_columns = config["patch_size"]
    batch, _, frames, rows, columns = latents.shape
    tokens = batch * (frames // patch_frames) * (rows // patch_rows) * (columns // patch_columns)
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return 2.0 * tokens * width**2
