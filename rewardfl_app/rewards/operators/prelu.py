"""PRelu, whose slope never trains here: PyTorch's own backward pass on a CPU goes value by value, for the gradient of
the slope too, and takes seven times as long."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.rewards.operators.registry import Attributes, Function, operator


@operator("PRelu")
def _prelu(attributes: Attributes, opset: int) -> Function:
    def run(x: Tensor, slope: Tensor) -> Tensor:
        if slope.numel() == 1 or (x.ndim > 1 and slope.numel() == x.shape[1] == slope.shape[0]):
            return _PRelu.apply(x, slope.reshape(-1))
        return torch.where(x >= 0, x, x * slope)

    return run


class _PRelu(torch.autograd.Function):
    """y = x where x > 0, else a x, with one slope a for all or for each channel: the same bits as F.prelu's."""

    generate_vmap_rule = True  # a graph written for one face is mapped over the faces

    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        return F.prelu(x, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, slope = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(grad, x, 0)  # zero where x <= 0
        each = slope if slope.numel() == 1 else slope.view(-1, *[1] * (x.ndim - 2))
        return (grad - positive).mul_(each).add_(positive), None
