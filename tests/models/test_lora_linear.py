"""The layer with its LoRA in one operation gives what PEFT's three layers give, and keeps less."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.tuners.lora import Linear
from torch import Tensor, nn
from traced_memory import Traced

from rewardfl_app.models import lora_linear
from rewardfl_app.models.lora_linear import LoraLinear

IN, OUT, RANK = 48, 80, 4


def layer(kind: type[Linear], dtype: torch.dtype, bias: bool = True) -> Linear:
    torch.manual_seed(1)
    base = nn.Linear(IN, OUT, bias).to(dtype).requires_grad_(False)
    made = kind(base, "default", LoraConfig(r=RANK, lora_alpha=6), r=RANK, lora_alpha=6)
    torch.manual_seed(2)
    for adapter in (made.lora_A["default"], made.lora_B["default"]):
        adapter.weight.data = torch.randn(adapter.weight.shape) * 0.1
    return made


def inputs(dtype: torch.dtype, needs_gradient: bool = True) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    x = torch.randn(2, 5, IN).to(dtype).requires_grad_(needs_gradient)
    return x, torch.randn(2, 5, OUT).to(dtype)


def found(made: Linear, x: Tensor, given: Tensor) -> list[Tensor]:
    """Output and gradients: of the input if it has one, of A and B."""
    y = made(x)
    parameters = [made.lora_A["default"].weight, made.lora_B["default"].weight]
    wanted = [x, *parameters] if x.requires_grad else parameters
    return [y, *torch.autograd.grad(y, wanted, given)]


@pytest.mark.parametrize("needs_gradient", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_pefts_layer_in_float32(bias: bool, needs_gradient: bool) -> None:
    x, given = inputs(torch.float32, needs_gradient)
    pairs = zip(
        found(layer(LoraLinear, torch.float32, bias), x, given),
        found(layer(Linear, torch.float32, bias), x, given),
        strict=True,
    )
    for own, pefts in pairs:
        assert own.dtype == pefts.dtype and (own - pefts).norm() <= 1e-6 * pefts.norm()


def test_over_bfloat16_it_is_as_near_to_exact_as_pefts() -> None:
    """The trained weights are float32 there, and so is what is computed with them."""
    x, given = inputs(torch.bfloat16)
    exact = found(layer(Linear, torch.bfloat16).double(), x.detach().double().requires_grad_(), given.double())
    own, pefts = (found(layer(kind, torch.bfloat16), x, given) for kind in (LoraLinear, Linear))
    for mine, theirs, true in zip(own, pefts, exact, strict=True):
        assert mine.dtype == theirs.dtype
        assert (mine.double() - true).norm() <= 1.05 * (theirs.double() - true).norm() + 1e-6 * true.norm()


def test_gradients_are_those_of_finite_differences() -> None:
    made = layer(LoraLinear, torch.float64)
    for adapter in (made.lora_A["default"], made.lora_B["default"]):
        adapter.weight.data = adapter.weight.data.double()
    x = inputs(torch.float64)[0]
    parameters = (made.lora_A["default"].weight, made.lora_B["default"].weight)
    assert torch.autograd.gradcheck(lambda x, *_: made(x), (x, *parameters))


def test_a_pass_for_the_input_alone_leaves_the_trained_weights_without_a_gradient() -> None:
    made, (x, given) = layer(LoraLinear, torch.float32), inputs(torch.float32)
    wanted = found(made, x, given)[1]
    parameters = [made.lora_A["default"].weight, made.lora_B["default"].weight]
    y = made(x)
    with lora_linear.inputs_alone():
        of_input, *none = torch.autograd.grad(y, [x, *parameters], given, retain_graph=True, allow_unused=True)
    assert torch.equal(of_input, wanted) and none == [None, None]
    assert all(gradient is not None for gradient in torch.autograd.grad(y, parameters, given))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_graph_keeps_the_input_as_it_came_and_no_copy(dtype: torch.dtype) -> None:
    kept = {}
    for kind in (LoraLinear, Linear):
        with Traced() as traced:
            made, (x, _) = layer(kind, dtype), inputs(dtype)
            before = traced.start()
            y = made(x)
            kept[kind] = traced.now - before
    rows = x.numel() // IN
    assert kept[LoraLinear] == y.numel() * y.element_size() + rows * RANK * 4
    assert kept[Linear] >= kept[LoraLinear] + (x.numel() * 4 if dtype == torch.bfloat16 else 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.lora_dropout.update({"default": nn.Dropout(0.0)}),
        lambda made: setattr(made.lora_A["default"].weight, "ds_id", 1),
        lambda made: made.update_layer("other", RANK, lora_alpha=1, config=LoraConfig(r=RANK)),
        lambda made: made.base_layer.requires_grad_(True),
    ],
    ids=["dropout", "ZeRO 3", "another adapter", "weights that train"],
)
def test_what_is_more_than_that_is_left_to_peft(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    pefts = Linear.forward
    monkeypatch.setattr(Linear, "forward", lambda self, x: asked.append(1) or pefts(self, x))
    made = layer(LoraLinear, torch.float32)
    x = inputs(torch.float32)[0]
    alone = made(x)
    assert not asked
    change(made)
    made._active_adapter = list(made.lora_A)
    assert torch.allclose(made(x), alone, atol=1e-6) and asked


def test_switched_off_it_is_the_layer_below() -> None:
    made, (x, _) = layer(LoraLinear, torch.float32), inputs(torch.float32)
    made._active_adapter = []
    assert torch.equal(made(x), made.base_layer(x))
