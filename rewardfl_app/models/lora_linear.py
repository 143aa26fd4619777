"""A linear layer and its LoRA as one operation.

    y = W x + b + s B A x        dL/dA = s B^T g x^T        dL/dB = s g (A x)^T        dL/dx = W^T g + s A^T B^T g

Written as three layers, autograd keeps the input once more in the LoRA's own number format and passes over the output
three times. Here it keeps the input as it came and A x, which has as many columns as the rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import Tensor, nn


class LoraLinear(Linear):
    """PEFT's layer, which computes the trained LoRA together with the layer below it.

    What is more than that (dropout, further adapters, weights that ZeRO 3 has divided) PEFT computes as always.
    """

    joined = True
    inputs_alone = False

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] -> [..., out], in the number format of the layer below."""
        name = self._only_adapter()
        if name is None or args or kwargs:
            return super().forward(x, *args, **kwargs)
        base, a, b = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        return _Joined.apply(x, base.weight, base.bias, a, b, self.scaling[name])

    def _only_adapter(self) -> str | None:
        if not self.joined or self.disable_adapters or self.merged:
            return None
        active = [name for name in self.active_adapters if name in self.lora_A]
        if len(active) != 1:
            return None
        name, base = active[0], self.base_layer
        divided = hasattr(self.lora_A[name].weight, "ds_id")
        frozen = not base.weight.requires_grad and (base.bias is None or not base.bias.requires_grad)
        plain = isinstance(self.lora_dropout[name], nn.Identity) and name not in self.lora_variant
        return name if plain and frozen and not divided else None


@contextmanager
def apart() -> Iterator[None]:
    """Inside, every layer is computed by PEFT."""
    before, LoraLinear.joined = LoraLinear.joined, False
    try:
        yield
    finally:
        LoraLinear.joined = before


@contextmanager
def inputs_alone() -> Iterator[None]:
    """Inside, a backward pass gives no gradient to the LoRA's own weights where layer and LoRA are one operation: for
    one that asks for none of them, which autograd cannot tell an operation that also leads to others."""
    LoraLinear.inputs_alone = True
    try:
        yield
    finally:
        LoraLinear.inputs_alone = False


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        inner = F.linear(rows.to(a.dtype), a)
        y = F.linear(rows, weight, bias).to(b.dtype).addmm_(inner, b.t(), alpha=scale).to(weight.dtype)
        ctx.save_for_backward(rows, weight, a, b, inner)
        ctx.scale = scale
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, a, b, inner = ctx.saved_tensors
        needs_x, _, _, needs_a, needs_b, _ = ctx.needs_input_grad
        if not torch.compiler.is_compiling() and LoraLinear.inputs_alone:
            needs_a = needs_b = False
        given = grad.reshape(-1, grad.shape[-1])
        wide = given.to(b.dtype)
        through = wide @ b
        grad_x = grad_a = grad_b = None
        if needs_x:
            grad_x = (given @ weight).to(a.dtype).addmm_(through, a, alpha=ctx.scale).to(rows.dtype)
            grad_x = grad_x.view(*grad.shape[:-1], -1)
        if needs_a:
            grad_a = _times(ctx.scale, through.t() @ rows.to(a.dtype))
        if needs_b:
            grad_b = _times(ctx.scale, wide.t() @ inner)
        return grad_x, None, None, grad_a, grad_b, None


def _times(scale: float, product: Tensor) -> Tensor:
    return product if scale == 1 else product.mul_(scale)
