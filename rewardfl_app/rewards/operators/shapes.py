"""Operators that rearrange, select, pad and resize."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.rewards.operators.registry import (
    Attributes,
    Function,
    UnsupportedOption,
    ints,
    number,
    operator,
    same_device,
    torch_pads,
)


@operator("Resize", "Upsample")
def _resize(attributes: Attributes, opset: int) -> Function:
    mode = attributes.get("mode", "nearest")
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel" if opset >= 11 else "asymmetric")
    rounding = attributes.get("nearest_mode", "round_prefer_floor" if opset >= 11 else "floor")
    if attributes.get("antialias", 0):
        raise UnsupportedOption("Resize with antialias")

    def run(x: Tensor, *steering: Tensor | None) -> Tensor:
        # opset 10 and Upsample: (x, scales); from 11: (x, roi, scales, sizes).
        values = [value if value is not None and value.numel() else None for value in steering]
        scales, sizes = (values[0], None) if len(values) == 1 else (values[1], values[2] if len(values) > 2 else None)
        if sizes is not None:
            size = ints(sizes) or []
        elif scales is not None:
            exact = [n * s for n, s in zip(x.shape, scales.tolist(), strict=True)]
            size = [round(n) for n in exact]
            if any(abs(n - m) > 1e-3 for n, m in zip(exact, size, strict=True)):
                raise UnsupportedOption(f"Resize of {list(x.shape)} to a broken size {exact}")
        else:
            raise UnsupportedOption("Resize without scales or sizes")
        if size[:2] != list(x.shape[:2]):
            raise UnsupportedOption("Resize of the batch or channel axis")
        target, source = size[2:], list(x.shape[2:])
        if target == source:
            return x
        if mode == "nearest":
            # For whole factors, rounding on the half-pixel grid picks the pixel that torch's floor picks.
            whole = all(t % s == 0 for t, s in zip(target, source, strict=True))
            rounded = rounding.startswith("round") and coordinates in ("half_pixel", "pytorch_half_pixel")
            if (coordinates, rounding) == ("asymmetric", "floor") or (whole and rounded):
                return F.interpolate(x, target, mode="nearest")
            raise UnsupportedOption(f"Resize nearest with {coordinates}, {rounding} from {source} to {target}")
        if mode == "linear" and coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners"):
            name = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(target)]
            return F.interpolate(x, target, mode=name, align_corners=coordinates == "align_corners")
        raise UnsupportedOption(f"Resize {mode} with {coordinates}")

    return run


@operator("Shape")
def _shape(attributes: Attributes, opset: int) -> Function:
    start, end = attributes.get("start", 0), attributes.get("end", None)
    return lambda x: torch.tensor(list(x.shape)[start:end], dtype=torch.int64)


@operator("Reshape")
def _reshape(attributes: Attributes, opset: int) -> Function:
    keep_zero = bool(attributes.get("allowzero", 0))

    def run(x: Tensor, shape: Tensor) -> Tensor:
        wanted = ints(shape) or []
        return x.reshape([x.shape[i] if n == 0 and not keep_zero else n for i, n in enumerate(wanted)])

    return run


@operator("Flatten")
def _flatten(attributes: Attributes, opset: int) -> Function:
    axis = attributes.get("axis", 1)

    def run(x: Tensor) -> Tensor:
        split = axis % x.ndim if axis != x.ndim else axis
        return x.reshape(math.prod(x.shape[:split]), math.prod(x.shape[split:]))

    return run


@operator("Transpose")
def _transpose(attributes: Attributes, opset: int) -> Function:
    order = attributes.get("perm")
    return lambda x: x.permute(order if order is not None else list(reversed(range(x.ndim))))


@operator("Concat")
def _concat(attributes: Attributes, opset: int) -> Function:
    axis = attributes["axis"]
    return lambda *parts: torch.cat(parts, axis)


@operator("Split")
def _split(attributes: Attributes, opset: int) -> Function:
    axis = attributes.get("axis", 0)

    def run(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        lengths = ints(sizes) or attributes.get("split")
        count = attributes.get("num_outputs") or attributes["_outputs"]
        return x.split(lengths if lengths else math.ceil(x.shape[axis] / count), axis)

    return run


@operator("Slice")
def _slice(attributes: Attributes, opset: int) -> Function:
    def run(x: Tensor, starts: Tensor | None = None, ends: Tensor | None = None, axes: Tensor | None = None,
            steps: Tensor | None = None) -> Tensor:  # fmt: skip
        first = ints(starts) or list(attributes["starts"])
        last = ints(ends) or list(attributes["ends"])
        along = ints(axes) or list(attributes.get("axes", range(len(first))))
        step = ints(steps) or [1] * len(first)
        for begin, end, axis, stride in zip(first, last, along, step, strict=True):
            if stride > 0:
                cut = [slice(None)] * x.ndim
                cut[axis % x.ndim] = slice(begin, end, stride)
                x = x[tuple(cut)]
            else:  # torch has no negative step
                chosen = range(x.shape[axis])[slice(begin, end if end >= -x.shape[axis] else None, stride)]
                x = x.index_select(axis, torch.tensor(list(chosen), device=x.device))
        return x

    return run


@operator("Gather")
def _gather(attributes: Attributes, opset: int) -> Function:
    axis = attributes.get("axis", 0)

    def run(x: Tensor, index: Tensor) -> Tensor:
        along = axis % x.ndim
        size = x.shape[along]
        index = torch.where(index < 0, index + size, index).to(x.device)
        picked = x.index_select(along, index.reshape(-1))
        return picked.reshape([*x.shape[:along], *index.shape, *x.shape[along + 1 :]])

    return run


@operator("Unsqueeze")
def _unsqueeze(attributes: Attributes, opset: int) -> Function:
    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = ints(axes) or list(attributes["axes"])
        rank = x.ndim + len(along)
        for axis in sorted(a % rank for a in along):
            x = x.unsqueeze(axis)
        return x

    return run


@operator("Squeeze")
def _squeeze(attributes: Attributes, opset: int) -> Function:
    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        along = ints(axes) or attributes.get("axes") or [a for a, n in enumerate(x.shape) if n == 1]
        return x.squeeze(tuple(a % x.ndim for a in along))

    return run


@operator("Expand")
def _expand(attributes: Attributes, opset: int) -> Function:
    return lambda x, shape: x * torch.ones(ints(shape) or [], dtype=x.dtype, device=x.device)


@operator("Tile")
def _tile(attributes: Attributes, opset: int) -> Function:
    return lambda x, repeats: x.repeat(ints(repeats) or [])


@operator("Pad")
def _pad(attributes: Attributes, opset: int) -> Function:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(attributes.get("mode", "constant"))
    if mode is None:
        raise UnsupportedOption(f"Pad in mode {attributes['mode']}")

    def run(x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        if axes is not None:
            raise UnsupportedOption("Pad with axes")
        amounts = torch_pads(ints(pads) or list(attributes["pads"]))
        if mode == "constant":
            return F.pad(x, amounts, value=number(value, attributes.get("value", 0.0)))
        return F.pad(x, amounts[: 2 * (x.ndim - 2)], mode=mode)

    return run


@operator("ConstantOfShape")
def _constant_of_shape(attributes: Attributes, opset: int) -> Function:
    value = attributes.get("value", torch.zeros(1))
    return lambda shape: torch.full(ints(shape) or [], value.item(), dtype=value.dtype)


@operator("Range")
def _range(attributes: Attributes, opset: int) -> Function:
    return lambda start, limit, step: torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


@operator("Where")
def _where(attributes: Attributes, opset: int) -> Function:
    def run(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        a, b = same_device(a, b)
        return torch.where(condition.to(a.device), a, b)

    return run
