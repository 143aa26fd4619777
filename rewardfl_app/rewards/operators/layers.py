"""Convolution, pooling, normalisation and matrix operators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.rewards.operators.registry import Attributes, Function, UnsupportedOption, operator, torch_pads


def _spatial_padding(
    attributes: Attributes, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Function:
    """Returns (shape) -> [before..., after...] for explicit pads or auto_pad."""
    mode = attributes.get("auto_pad", "NOTSET")
    rank = len(kernel)
    if mode in ("NOTSET", ""):
        pads = list(attributes.get("pads", [0] * 2 * rank))
        return lambda shape: pads
    if mode == "VALID":
        return lambda shape: [0] * 2 * rank

    def same(shape: Sequence[int]) -> list[int]:
        before, after = [], []
        for size, k, s, d in zip(shape, kernel, stride, dilation, strict=True):
            total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
            small = total // 2
            before.append(small if mode == "SAME_UPPER" else total - small)
            after.append(total - before[-1])
        return before + after

    return same


@operator("Conv")
def _conv(attributes: Attributes, opset: int) -> Function:
    groups = attributes.get("group", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.ndim - 2
        stride = attributes.get("strides", [1] * rank)
        dilation = attributes.get("dilations", [1] * rank)
        pads = _spatial_padding(attributes, list(weight.shape[2:]), stride, dilation)(x.shape[2:])
        if pads[:rank] != pads[rank:]:
            x, padding = F.pad(x, torch_pads(pads)), [0] * rank
        else:
            padding = pads[:rank]
        convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[rank]
        return convolve(x, weight, bias, stride, padding, dilation, groups)  # type: ignore[operator]

    return run


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
        transpose = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
        return transpose(x, weight, bias, stride, pads[:rank], extra, groups, dilation)  # type: ignore[operator]

    return run


@operator("BatchNormalization")
def _batch_norm(attributes: Attributes, opset: int) -> Function:
    epsilon = attributes.get("epsilon", 1e-5)
    if attributes.get("training_mode", 0):
        raise UnsupportedOption("BatchNormalization in training mode")

    def run(x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, scale, shift, False, 0.0, epsilon)

    return run


@operator("InstanceNormalization")
def _instance_norm(attributes: Attributes, opset: int) -> Function:
    epsilon = attributes.get("epsilon", 1e-5)
    return lambda x, scale, shift: F.instance_norm(x, weight=scale, bias=shift, eps=epsilon)


@operator("LayerNormalization")
def _layer_norm(attributes: Attributes, opset: int) -> Function:
    axis, epsilon = attributes.get("axis", -1), attributes.get("epsilon", 1e-5)
    return lambda x, scale, shift=None: F.layer_norm(x, x.shape[axis:], scale, shift, epsilon)


@operator("MaxPool")
def _max_pool(attributes: Attributes, opset: int) -> Function:
    kernel = attributes["kernel_shape"]
    rank = len(kernel)
    stride, dilation = attributes.get("strides", [1] * rank), attributes.get("dilations", [1] * rank)
    ceil_mode = bool(attributes.get("ceil_mode", 0))
    pool: Function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[rank]

    def run(x: Tensor) -> Tensor:
        pads = _spatial_padding(attributes, kernel, stride, dilation)(x.shape[2:])
        if any(pads):
            x = F.pad(x, torch_pads(pads), value=-math.inf)
        return pool(x, kernel, stride, 0, dilation, ceil_mode)

    return run


@operator("AveragePool")
def _average_pool(attributes: Attributes, opset: int) -> Function:
    kernel = attributes["kernel_shape"]
    rank = len(kernel)
    stride = attributes.get("strides", [1] * rank)
    ceil_mode, counted = bool(attributes.get("ceil_mode", 0)), bool(attributes.get("count_include_pad", 0))
    if any(d != 1 for d in attributes.get("dilations", [1] * rank)):
        raise UnsupportedOption("AveragePool with dilation")
    pool: Function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[rank]

    def run(x: Tensor) -> Tensor:
        pads = _spatial_padding(attributes, kernel, stride, [1] * rank)(x.shape[2:])
        if pads[:rank] == pads[rank:]:
            return pool(x, kernel, stride, pads[:rank], ceil_mode, counted)
        if not counted or ceil_mode:
            raise UnsupportedOption("AveragePool with uneven padding that is not counted")
        return pool(F.pad(x, torch_pads(pads)), kernel, stride, 0)

    return run


@operator("GlobalAveragePool")
def _global_average_pool(attributes: Attributes, opset: int) -> Function:
    return lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def _global_max_pool(attributes: Attributes, opset: int) -> Function:
    return lambda x: x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("Gemm")
def _gemm(attributes: Attributes, opset: int) -> Function:
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    transpose_a, transpose_b = attributes.get("transA", 0), attributes.get("transB", 0)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        if transpose_a:
            a = a.transpose(0, 1)
        if alpha == 1.0 and beta == 1.0 and (c is None or c.ndim == 1):
            return F.linear(a, b if transpose_b else b.transpose(0, 1), c)
        product = alpha * (a @ (b.transpose(0, 1) if transpose_b else b))
        return product if c is None else product + beta * c

    return run
