"""A frozen convolution of pictures that were made twice as large by repeating their pixels, computed at their own size.

Of the nine pixels under a kernel of 3 x 3 only four differ, so each of the four pixels that one became is a convolution
of 2 x 2 with sums of the kernel's weights: four ninths of the products, and the larger picture is never made. Along one
side, with u_2i = u_2i+1 = x_i:

    y_2i = w_0 x_{i-1} + (w_1 + w_2) x_i        y_2i+1 = (w_0 + w_1) x_i + w_2 x_{i+1}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def fits(resize: nn.Upsample, conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether conv(resize(x)) can be computed this way, and is faster so: on a CPU, in full precision."""
    repeats = resize.scale_factor == (2.0, 2.0) and resize.mode in ("nearest", "nearest-exact")
    plain = conv.kernel_size == (3, 3) and conv.padding == (1, 1) and {*conv.stride, *conv.dilation, conv.groups} == {1}
    on_cpu = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return repeats and plain and on_cpu and not conv.weight.requires_grad


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """conv(u) [B, O, 2H, 2W] with zeros around it, for the repeated pixels u of x [B, I, H, W]; weight [O, I, 3, 3]."""
    return _Doubled.apply(x, weight, bias)


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        height, width = x.shape[2:]
        y = _room(x, len(weight), 2 * height, 2 * width)
        for row, column, kernel in _kernels(weight):
            made = F.conv2d(x, kernel, bias, padding=1)
            y[:, :, row::2, column::2] = made[:, :, row : row + height, column : column + width]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        height, width = grad.shape[2] // 2, grad.shape[3] // 2
        found = _room(grad, ctx.weight.shape[1], height, width).zero_()
        for row, column, kernel in _kernels(ctx.weight):
            part = grad[:, :, row::2, column::2].contiguous(memory_format=torch.channels_last)
            given = F.conv_transpose2d(part, kernel)  # one pixel more on the side that this one did not see
            found += given[:, :, 1 - row : 1 - row + height, 1 - column : 1 - column + width]
        return found, None, None


def _kernels(weight: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Row and column, 0 or 1, of each of the four pixels that one became, and its kernel [O, I, 2, 2]."""
    for row, by_row in enumerate(_halves(weight, 2)):
        for column, kernel in enumerate(_halves(by_row, 3)):
            yield row, column, kernel


def _halves(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    first, middle, last = weight.split(1, axis)
    return torch.cat([first, middle + last], axis), torch.cat([first + middle, last], axis)


def _room(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    shape = (len(like), channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
