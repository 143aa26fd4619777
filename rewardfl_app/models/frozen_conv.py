"""The VAE's convolutions where their weights do not train: the graph keeps nothing of their inputs. Autograd's own keep
them, padded by a copy, beside those of the norms before them.

On a CPU a causal convolution over time is a sum of convolutions of pictures, one for each frame that it sees,

    y_t = W_2 x_t + W_1 x_{t-1} + W_0 x_{t-2},

which takes half the time of PyTorch's Conv3d over a short clip, and a tenth where that finds no fast kernel (float32,
one clip, few values: `ConvParams::use_mkldnn` in ATen). Two frames that follow each other share some of it: four
convolutions give both instead of six (Winograd's F(2, 3) over time; Lavin and Gray, arXiv 1509.09308). Where W has few
outputs, all three are one convolution with three times as many: a CPU computes 16 in the time of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv3d_input

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

# A sum of products that were each rounded to half precision would be less exact.
_BY_PICTURES = (torch.float32, torch.float64)
_OUTPUTS_AT_ONCE = 16


def causal(conv: WanCausalConv3d, x: Tensor, past: Tensor | None = None) -> Tensor:
    """conv(x, past) for x [B, C, T, H, W] and what came before it [B, C, 2, H, W] (zeros if None).

    A convolution that trains, or one with a stride, is left to diffusers.
    """
    if conv.weight.requires_grad or set(conv.stride) != {1} or conv.groups != 1:
        return conv(x, past)
    past = None if conv.weight.shape[2] == 1 else past
    padding = conv._padding[2], conv._padding[0]
    if x.device.type != "cpu" or x.dtype not in _BY_PICTURES:
        return _Volume.apply(x, past, conv.weight, conv.bias, padding)
    few = conv.weight.shape[0] * conv.weight.shape[2] <= _OUTPUTS_AT_ONCE
    convolve = _by_outputs if few else _Pictures.apply
    if len(x) == 1:  # a split's transpose would give the gradient another memory layout
        return convolve(x, past, conv.weight, conv.bias, padding)
    before = [None] * len(x) if past is None else past.split(1)
    return torch.cat(
        [convolve(clip, seen, conv.weight, conv.bias, padding) for clip, seen in zip(x.split(1), before, strict=True)]
    )


def pictures(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(x) for pictures x [B, C, H, W]."""
    if conv.weight.requires_grad or conv.groups != 1 or set(conv.stride) != {1}:
        return conv(x)
    return _Picture.apply(x, conv.weight, conv.bias, conv.padding)


def _by_outputs(
    x: Tensor, past: Tensor | None, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """One clip: what each W_i makes of each frame, shifted and added."""
    before = 0 if past is None else past.shape[2]
    seen = x if past is None else torch.cat([past, x], dim=2)
    stacked = weight.permute(2, 0, 1, 3, 4).flatten(0, 1)
    parts = _Picture.apply(_frames(seen), stacked, None, padding).chunk(weight.shape[2], dim=1)
    y = parts[-1][before:]
    for back, part in enumerate(reversed(parts[:-1]), 1):
        y = y + F.pad(part, (0, 0, 0, 0, 0, 0, back, 0))[before : before + x.shape[2]]
    return _clip(y if bias is None else y + bias.view(-1, 1, 1))


class _Pictures(torch.autograd.Function):
    """One clip, in the memory layout in which each of its frames is a picture with the channels last."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, past: Tensor | None, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> Tensor:
        ctx.weight, ctx.padding = weight, padding
        ctx.num_past = None if past is None else past.shape[2]
        frames, before = _frames(x), None if past is None else _frames(past)
        latest, number, pairs = weight.shape[2] - 1, len(frames), _num_pairs(weight, frames)
        alone = number - 2 * pairs
        y = F.conv2d(frames[:alone], weight[:, :, latest], bias, padding=padding)
        for back in range(1, latest + 1):
            tap = weight[:, :, latest - back]
            if back < alone:
                y[back:] += F.conv2d(frames[: alone - back], tap, padding=padding)
            if before is not None:
                count = min(back, alone)
                y[:count] += F.conv2d(before[len(before) - back :][:count], tap, padding=padding)
        if pairs:
            first, y = y, _room(y, number)
            y[:alone] = first
            seen = [frames[place : place + 2 * pairs : 2] for place in range(alone - 2, alone + 2)]
            _in_pairs(partial(F.conv2d, padding=padding), weight, bias, seen, y[alone::2], y[alone + 1 :: 2])
        return _clip(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        weight, padding = ctx.weight, ctx.padding
        frames = _frames(grad).contiguous(memory_format=torch.channels_last)
        latest, number, pairs = weight.shape[2] - 1, len(frames), _num_pairs(weight, frames)
        paired = 2 * pairs
        found = F.conv_transpose2d(frames[paired:], weight[:, :, latest], padding=padding)
        before = None if ctx.num_past is None else found.new_zeros(ctx.num_past, *found.shape[1:])
        for back in range(1, latest + 1):
            tap = weight[:, :, latest - back]
            if back < number - paired:
                found[:-back] += F.conv_transpose2d(frames[paired + back :], tap, padding=padding)
            if before is not None:
                count = min(back, number)
                before[len(before) - back :][:count] += F.conv_transpose2d(frames[:count], tap, padding=padding)
        if pairs:  # what a frame gave to is what came after it: time runs back
            last, found = found, _room(found, number)
            found[paired:] = last
            seen = [frames[place : place + paired : 2] for place in (3, 2, 1, 0)]
            convolve = partial(F.conv_transpose2d, padding=padding)
            _in_pairs(convolve, weight, None, seen, found[1:paired:2], found[:paired:2])
        return _clip(found), None if before is None else _clip(before), None, None, None


def _num_pairs(weight: Tensor, frames: Tensor) -> int:
    """Pairs of frames that are computed together; the two or three at the beginning of what is seen are not."""
    return max(len(frames) - 2, 0) // 2 if weight.shape[2] == 3 else 0


def _in_pairs(
    convolve: Callable[..., Tensor],
    weight: Tensor,
    bias: Tensor | None,
    seen: Sequence[Tensor],
    first: Tensor,
    second: Tensor,
) -> None:
    """Fills `first` with W_0 d_0 + W_1 d_1 + W_2 d_2 + bias and `second` with W_0 d_1 + W_1 d_2 + W_2 d_3 + bias, for
    the pictures d_0 to d_3 that each pair sees."""
    d0, d1, d2, d3 = seen
    outer, middle = (weight[:, :, 0] + weight[:, :, 2]) / 2, weight[:, :, 1] / 2
    both = convolve(d1 + d2, outer + middle, bias)
    apart = convolve(d2 - d1, outer - middle)
    torch.add(both, apart, out=first)
    torch.sub(both, apart, out=second)
    del both, apart  # before the next are made
    first += convolve(d0 - d2, weight[:, :, 0])
    second -= convolve(d1 - d3, weight[:, :, 2])


def _room(like: Tensor, number: int) -> Tensor:
    shape = (number, *like.shape[1:])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


class _Volume(torch.autograd.Function):
    """Clips by one Conv3d, as diffusers computes it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, past: Tensor | None, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> Tensor:
        ctx.num_past = None if past is None else past.shape[2]
        ctx.num_zeros = weight.shape[2] - 1 - (ctx.num_past or 0)
        seen = x if past is None else torch.cat([past, x], dim=2)
        seen = F.pad(seen, (0, 0, 0, 0, ctx.num_zeros, 0)) if ctx.num_zeros else seen
        ctx.weight, ctx.padding, ctx.shape = weight, (0, *padding), seen.shape
        return F.conv3d(seen, weight, bias, padding=ctx.padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        found = conv3d_input(ctx.shape, ctx.weight, grad, padding=ctx.padding)[:, :, ctx.num_zeros :]
        if ctx.num_past is None:
            return found, None, None, None, None
        return found[:, :, ctx.num_past :], found[:, :, : ctx.num_past], None, None, None


class _Picture(torch.autograd.Function):
    """Pictures by a Conv2d."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        ctx.weight, ctx.padding = weight, padding
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        # In another layout it takes up to three times as long on a CPU.
        grad = grad.contiguous(memory_format=torch.channels_last) if grad.device.type == "cpu" else grad
        return F.conv_transpose2d(grad, ctx.weight, padding=ctx.padding), None, None, None


def _frames(clip: Tensor) -> Tensor:
    return clip[0].transpose(0, 1)


def _clip(frames: Tensor) -> Tensor:
    return frames.transpose(0, 1)[None]
