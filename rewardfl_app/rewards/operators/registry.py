"""The table of ONNX operators and what its entries share.

An entry is `(attributes, opset) -> function(*inputs) -> tensor or tuple`. Attributes are read once, when the graph is
built; the returned function is pure torch, so gradients flow through it and `torch.vmap` can map it over samples.

Shapes and indices stay on the host as int64 CPU tensors: `Shape` yields one, and every operator that takes a shape
reads it as a list. Absent optional inputs arrive as None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

Attributes = dict[str, Any]
Function = Callable[..., Any]
Builder = Callable[[Attributes, int], Function]

OPERATORS: dict[str, Builder] = {}

# Inputs that only steer an operator (shapes, axes, sizes): their constants stay on the host in full precision.
HOST_INPUTS: dict[str, tuple[int, ...]] = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "Split": (1,),
    "Slice": (1, 2, 3, 4), "Unsqueeze": (1,), "Squeeze": (1,), "Pad": (1, 2), "Clip": (1, 2),
    "Resize": (1, 2, 3), "Upsample": (1,),
    "ReduceMean": (1,), "ReduceSum": (1,), "ReduceL2": (1,), "ReduceMax": (1,), "ReduceMin": (1,),
}  # fmt: skip


class UnsupportedOption(Exception):
    """An operator is known, but not with these attributes."""


def operator(*names: str) -> Callable[[Builder], Builder]:
    def register(builder: Builder) -> Builder:
        for name in names:
            OPERATORS[name] = builder
        return builder

    return register


def ints(value: Tensor | Sequence[int] | None) -> list[int] | None:
    """A shape-like input as a list of Python ints."""
    if value is None:
        return None
    return [int(v) for v in (value.reshape(-1).tolist() if isinstance(value, Tensor) else value)]


def number(value: Tensor | None, default: float) -> float:
    return default if value is None else float(value.item())


def same_device(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Brings a host value (a shape turned into a number) to the data it meets."""
    if a.device != b.device:
        return (a.to(b.device), b) if a.device.type == "cpu" else (a, b.to(a.device))
    return a, b


def torch_pads(pads: Sequence[int]) -> list[int]:
    """ONNX [begin..., end...] to torch's [last begin, last end, ...]."""
    rank = len(pads) // 2
    return [pads[side * rank + axis] for axis in reversed(range(rank)) for side in (0, 1)]
