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

_FAST = (torch.float32, torch.bfloat16)
_SMALLEST_NORM = 1e-12  # of torch.nn.functional.normalize


def norm_silu(norm: WanRMS_norm, x: Tensor) -> Tensor:
    """silu(norm(x)) for x [B, C, T, H, W]; the norm's weights are taken as frozen where the fast form is used (float32
    and bfloat16, which is computed in float32 and rounded once)."""
    if x.dtype not in _FAST or not isinstance(norm.bias, float) or norm.gamma.requires_grad:
        return F.silu(norm(x))
    return _NormSilu.apply(x, norm.gamma.float() * norm.scale)


class _NormSilu(torch.autograd.Function):
    """y = silu(w x / |x|), |x| over the channels. Only x and 1/|x| are kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.float()
        inverse = torch.linalg.vector_norm(wide, dim=1, keepdim=True).clamp_min_(_SMALLEST_NORM).reciprocal_()
        ctx.save_for_backward(x, inverse, weight)
        return F.silu((wide * inverse).mul_(weight), inplace=True).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        kept, inverse, weight = ctx.saved_tensors
        x = kept.float()
        normed = (x * inverse).mul_(weight)
        inner = torch.ops.aten.silu_backward(grad.float(), normed).mul_(weight)
        # d(x/|x|) = (I - x x^T / |x|^2) / |x|
        along = torch.linalg.vecdot(inner, x, dim=1).unsqueeze(1).mul_(inverse).mul_(inverse)
        return inner.sub_(x * along).mul_(inverse).to(kept.dtype), None
