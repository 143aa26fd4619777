"""The VAE's RMS norm followed by SiLU as one operation: almost half of a decode is spent in them, most of it moving
memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanRMS_norm

_FAST = (torch.float32, torch.bfloat16)
# Values that are computed together: of a long clip what lies between the steps would be larger than what is kept.
_AT_ONCE = {"cpu": 2**22}
_AT_ONCE_ELSEWHERE = 2**24
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
        y, inverse = _in_parts(partial(_forward, weight=weight), x)
        ctx.save_for_backward(x, inverse, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, inverse, weight = ctx.saved_tensors
        (found,) = _in_parts(partial(_backward, weight=weight), x, inverse, grad)
        return found, None


def _forward(x: Tensor, *, weight: Tensor) -> tuple[Tensor, Tensor]:
    wide = x.float()
    inverse = torch.linalg.vector_norm(wide, dim=1, keepdim=True).clamp_min_(_SMALLEST_NORM).reciprocal_()
    return F.silu((wide * inverse).mul_(weight), inplace=True).to(x.dtype), inverse


def _backward(kept: Tensor, inverse: Tensor, grad: Tensor, *, weight: Tensor) -> tuple[Tensor]:
    x = kept.float()
    normed = (x * inverse).mul_(weight)
    inner = torch.ops.aten.silu_backward(grad.float(), normed).mul_(weight)
    # d(x/|x|) = (I - x x^T / |x|^2) / |x|
    along = torch.linalg.vecdot(inner, x, dim=1).unsqueeze(1).mul_(inverse).mul_(inverse)
    return (inner.sub_(x * along).mul_(inverse).to(kept.dtype),)


def _in_parts(work: Callable[..., Sequence[Tensor]], *inputs: Tensor) -> Sequence[Tensor]:
    """`work` of tensors [B, C, T, H, W], a few frames at a time."""
    x = inputs[0]
    frames, values = x.shape[2], x.numel()
    size = max(_AT_ONCE.get(x.device.type, _AT_ONCE_ELSEWHERE) * frames // max(values, 1), 1)
    if size >= frames:
        return work(*inputs)
    made: list[Tensor] = []
    for start in range(0, frames, size):
        place = slice(start, start + size)
        parts = work(*(each[:, :, place] for each in inputs))
        if not made:
            made = [_empty(part, frames) for part in parts]
        for whole, part in zip(made, parts, strict=True):
            whole[:, :, place] = part
        del parts, part  # before the next ones are made
    return made


def _empty(part: Tensor, frames: int) -> Tensor:
    """Room for a tensor of which this is a part, in its memory layout."""
    shape = (*part.shape[:2], frames, *part.shape[3:])
    by_channel = part.is_contiguous(memory_format=torch.channels_last_3d)
    layout = torch.channels_last_3d if by_channel else torch.contiguous_format
    return torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=layout)
