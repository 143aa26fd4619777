"""The VAE's RMS norm followed by SiLU as one operation: almost half of a decode is spent in them, most of it moving
memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm

_SMALLEST_NORM = 1e-12  # of torch.nn.functional.normalize


def norm_silu(norm: WanRMS_norm, x: Tensor) -> Tensor:
    """silu(norm(x)) for x [B, C, T, H, W]; the norm's weights are taken as frozen where the fast form is used
    (float32)."""
    if x.dtype != torch.float32 or not isinstance(norm.bias, float) or norm.gamma.requires_grad:
        return F.silu(norm(x))
    return _NormSilu.apply(x, norm.gamma * norm.scale)


class _NormSilu(torch.autograd.Function):
    """y = silu(w x / |x|), |x| over the channels. Only x and 1/|x| are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        inverse = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min_(_SMALLEST_NORM).reciprocal_()
        ctx.save_for_backward(x, inverse, weight)
        return F.silu((x * inverse).mul_(weight), inplace=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, inverse, weight = ctx.saved_tensors
        normed = (x * inverse).mul_(weight)
        inner = torch.ops.aten.silu_backward(grad, normed).mul_(weight)
        # d(x/|x|) = (I - x x^T / |x|^2) / |x|
        along = torch.linalg.vecdot(inner, x, dim=1).unsqueeze(1).mul_(inverse).mul_(inverse)
        return inner.sub_(x * along).mul_(inverse), None
