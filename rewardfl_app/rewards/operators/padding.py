"""What a window that slides over a map is given around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rewardfl_app.rewards.operators.registry import Attributes, Function


def spatial_padding(
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
