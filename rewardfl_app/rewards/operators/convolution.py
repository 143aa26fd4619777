"""Convolutions, and the batch normalisation around them. Their weights never train here: the graph keeps nothing of
their inputs.

Autograd's own keep the input of each: three maps of the recogniser where one is enough.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.rewards.operators.padding import spatial_padding
from rewardfl_app.rewards.operators.registry import Attributes, Function, UnsupportedOption, operator, torch_pads

_CONVOLVE: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSE: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@operator("Conv")
def _conv(attributes: Attributes, opset: int) -> Function:
    groups = attributes.get("group", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.ndim - 2
        stride = attributes.get("strides", [1] * rank)
        dilation = attributes.get("dilations", [1] * rank)
        pads = spatial_padding(attributes, list(weight.shape[2:]), stride, dilation)(x.shape[2:])
        if pads[:rank] != pads[rank:]:
            x, padding = F.pad(x, torch_pads(pads)), [0] * rank
        else:
            padding = pads[:rank]
        options = stride, padding, dilation, groups
        computed = weight.requires_grad or (bias is not None and bias.requires_grad)  # from the picture, by the graph
        if computed or not x.requires_grad:
            return _CONVOLVE[rank](x, weight, bias, *options)
        return _Frozen.apply(x, weight, bias, options)

    return run


class _Frozen(torch.autograd.Function):
    """A convolution (stride, padding, dilation, groups) that gives a gradient to its input alone."""

    generate_vmap_rule = True  # a graph written for one face is mapped over the faces

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
        return _CONVOLVE[weight.ndim - 2](x, weight, bias, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, Any], output: Tensor) -> None:
        x, weight, _, ctx.options = inputs
        ctx.save_for_backward(weight)
        ctx.size = x.shape[2:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        # What a stride leaves over at the end of each side has no part in the output.
        left = [
            size - ((out - 1) * s - 2 * p + d * (k - 1) + 1)
            for size, out, k, s, p, d in zip(
                ctx.size, grad.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
            )
        ]
        transpose = _TRANSPOSE[weight.ndim - 2]
        return transpose(grad, weight, None, stride, padding, left, groups, dilation), None, None, None


@operator("ConvTranspose")
def _conv_transpose(attributes: Attributes, opset: int) -> Function:
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "") or "output_shape" in attributes:
        raise UnsupportedOption("ConvTranspose with auto_pad or output_shape")
    groups = attributes.get("group", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.ndim - 2
        stride, dilation = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
        pads, extra = attributes.get("pads", [0] * 2 * rank), list(attributes.get("output_padding", [0] * rank))
        extra = [e + begin - end for e, begin, end in zip(extra, pads[:rank], pads[rank:], strict=True)]
        if any(e < 0 for e in extra):
            raise UnsupportedOption("ConvTranspose with uneven padding")
        return _TRANSPOSE[rank](x, weight, bias, stride, pads[:rank], extra, groups, dilation)

    return run


@operator("BatchNormalization")
def _batch_norm(attributes: Attributes, opset: int) -> Function:
    epsilon = attributes.get("epsilon", 1e-5)
    if attributes.get("training_mode", 0):
        raise UnsupportedOption("BatchNormalization in training mode")

    def run(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        factor = scale * (variance + epsilon).rsqrt()
        shape = (-1, *[1] * (x.ndim - 2))
        return torch.addcmul((shift - mean * factor).view(shape), x, factor.view(shape))

    return run
