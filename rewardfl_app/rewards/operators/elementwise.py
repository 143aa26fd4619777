"""Operators that work value by value, and reductions."""

from __future__ import annotations

import math
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.rewards.operators.registry import (
    OPERATORS,
    Attributes,
    Builder,
    Function,
    ints,
    number,
    operator,
    same_device,
)


def _unary(function: Function) -> Builder:
    return lambda attributes, opset: function


def _binary(function: Function) -> Builder:
    return lambda attributes, opset: lambda a, b: function(*same_device(a, b))


def _variadic(function: Function) -> Builder:
    return lambda attributes, opset: lambda *values: reduce(lambda a, b: function(*same_device(a, b)), values)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    if a.is_floating_point() or b.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


_UNARY: dict[str, Function] = {
    "Relu": F.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Softplus": F.softplus,
    "HardSwish": F.hardswish,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Neg": torch.neg,
    "Abs": torch.abs,
    "Reciprocal": torch.reciprocal,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Not": torch.logical_not,
    "Identity": lambda x: x,
    "Dropout": lambda x, *ignored: x,  # inference only: dropout passes its input on
}
_BINARY: dict[str, Function] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": _divide,
    "Pow": torch.pow,
    "MatMul": torch.matmul,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "And": torch.logical_and,
    "Or": torch.logical_or,
}
_VARIADIC: dict[str, Function] = {"Sum": torch.add, "Min": torch.minimum, "Max": torch.maximum}
OPERATORS.update({name: _unary(function) for name, function in _UNARY.items()})
OPERATORS.update({name: _binary(function) for name, function in _BINARY.items()})
OPERATORS.update({name: _variadic(function) for name, function in _VARIADIC.items()})


@operator("LeakyRelu")
def _leaky_relu(attributes: Attributes, opset: int) -> Function:
    slope = attributes.get("alpha", 0.01)
    return lambda x: F.leaky_relu(x, slope)


@operator("Elu")
def _elu(attributes: Attributes, opset: int) -> Function:
    alpha = attributes.get("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


@operator("HardSigmoid")
def _hard_sigmoid(attributes: Attributes, opset: int) -> Function:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return lambda x: (alpha * x + beta).clamp(0, 1)


@operator("Gelu")
def _gelu(attributes: Attributes, opset: int) -> Function:
    approximate = attributes.get("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


@operator("Clip")
def _clip(attributes: Attributes, opset: int) -> Function:
    low, high = attributes.get("min", -math.inf), attributes.get("max", math.inf)

    def run(x: Tensor, minimum: Tensor | None = None, maximum: Tensor | None = None) -> Tensor:
        floor, ceiling = number(minimum, low), number(maximum, high)
        if math.isfinite(floor) and math.isfinite(ceiling) and floor < ceiling and x.is_floating_point():
            return F.hardtanh(x, floor, ceiling)  # the same values as clamp, and a backward in one pass
        return x.clamp(floor, ceiling)

    return run


@operator("Softmax")
def _softmax(attributes: Attributes, opset: int) -> Function:
    axis = attributes.get("axis", -1 if opset >= 13 else 1)
    if opset >= 13:
        return lambda x: F.softmax(x, axis)
    # Before opset 13 the input is flattened to two axes at `axis`.
    return lambda x: F.softmax(x.flatten(axis), -1).reshape(x.shape)


def _reduction(function: Function) -> Builder:
    def build(attributes: Attributes, opset: int) -> Function:
        keep = bool(attributes.get("keepdims", 1))
        nothing = bool(attributes.get("noop_with_empty_axes", 0))

        def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
            along = ints(axes) or attributes.get("axes") or ([] if nothing else list(range(x.ndim)))
            return function(x, tuple(a % x.ndim for a in along), keep) if along else x

        return run

    return build


OPERATORS["ReduceMean"] = _reduction(lambda x, axes, keep: x.mean(axes, keep))
OPERATORS["ReduceSum"] = _reduction(lambda x, axes, keep: x.sum(axes, keep))
OPERATORS["ReduceL2"] = _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep))
OPERATORS["ReduceMax"] = _reduction(lambda x, axes, keep: x.amax(axes, keep))
OPERATORS["ReduceMin"] = _reduction(lambda x, axes, keep: x.amin(axes, keep))
