"""Pooling, normalisation over what is given, and matrix operators."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.rewards.operators.padding import spatial_padding
from rewardfl_app.rewards.operators.registry import Attributes, Function, UnsupportedOption, operator, torch_pads


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
        pads = spatial_padding(attributes, kernel, stride, dilation)(x.shape[2:])
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
        pads = spatial_padding(attributes, kernel, stride, [1] * rank)(x.shape[2:])
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
