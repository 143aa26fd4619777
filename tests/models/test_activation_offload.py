"""Checkpointing with the hidden states in host memory against plain checkpointing."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tiny_wan
import torch
from peft import LoraConfig
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rewardfl_app.models import activation_offload
from rewardfl_app.models.activation_offload import Kept, OffloadedCheckpoint

Run = Callable[..., Any]


def plain(block: nn.Module, *inputs: Any) -> Any:
    return checkpoint(block, *inputs, use_reentrant=False)


def expert(dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    made = tiny_wan.transformer(3).requires_grad_(False).train()
    targets = ["to_q", "to_v"]
    made.add_adapter(
        LoraConfig(r=2, lora_alpha=2, lora_dropout=dropout, target_modules=targets, init_lora_weights=False)
    )
    return made


def gradients(run: Run | None, dropout: float = 0.0, through_x_first: bool = False) -> list[Tensor]:
    """d loss / d LoRA weights and d loss / d latents."""
    network = expert(dropout)
    if run is not None:
        network.enable_gradient_checkpointing(OffloadedCheckpoint(network.blocks) if run is not plain else run)
    torch.manual_seed(1)
    x = torch.randn(2, 36, 2, 4, 4, requires_grad=True)
    out = network(x, torch.tensor([500.0, 700.0]), torch.randn(2, 5, 16), return_dict=False)[0]
    target = torch.randn_like(out)
    loss = (out - target).square().sum()
    found = []
    if through_x_first:  # as the engine does where the divergence has no gradient through x
        found += torch.autograd.grad(loss, x, retain_graph=True)
    loss.backward()
    assert x.grad is not None
    trained = [p.grad for p in network.parameters() if p.requires_grad]
    return [*found, x.grad, *[g for g in trained if g is not None]]


@pytest.mark.parametrize(("dropout", "first"), [(0.0, False), (0.3, False), (0.0, True)])
def test_gradients_are_those_of_plain_checkpointing_to_the_last_bit(dropout: float, first: bool) -> None:
    got = gradients(OffloadedCheckpoint, dropout, first)
    want = gradients(plain, dropout, first)
    assert len(got) == len(want) > 10 and all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert float(got[-1].abs().max()) > 0


class Double(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, hidden: Tensor, shared: Tensor) -> Tensor:
        return torch.sin(self.weight * hidden) * shared


def test_only_the_hidden_states_move_and_what_was_there_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Kept] = []

    class Noted(Kept):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            kept.append(self)

    monkeypatch.setattr(activation_offload, "Kept", Noted)
    blocks = [Double(0.5 + n) for n in range(3)]
    run, shared = OffloadedCheckpoint(blocks), torch.rand(4)
    hidden = torch.rand(4, requires_grad=True) * 1.0
    given, values = [], []
    for block in blocks:
        given.append(weakref.ref(hidden))
        values.append(hidden.detach().clone())
        hidden = run(block, hidden, shared)
    assert all(torch.equal(one.host, value) for one, value in zip(kept, values, strict=True))
    assert all(tensor() is None for tensor in given), "the graph holds the copies alone"
    hidden.sum().backward()
    assert kept[1]._fetched is None and kept[0]._fetched is None, "what was brought back was used up"


def test_the_block_before_is_brought_back_early() -> None:
    first = Kept(torch.tensor([1.0]), None, None)
    second = Kept(torch.tensor([2.0]), first, None)
    assert first._fetched is None
    assert float(second.take()) == 2.0 and first._fetched is not None
    assert float(first.take()) == 1.0 and float(first.take()) == 1.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_hidden_states_are_pinned_and_their_memory_is_free() -> None:
    blocks = [Double(0.5 + n).cuda() for n in range(6)]
    size = 2**24
    peaks, found = [], []
    for run in (plain, OffloadedCheckpoint(blocks)):
        x = torch.linspace(0, 1, size, device="cuda", requires_grad=True)
        hidden = x * 1.0
        for block in blocks:
            hidden = run(block, hidden, torch.ones(1, device="cuda"))
        torch.cuda.synchronize()
        peaks.append(torch.cuda.memory_allocated())
        hidden.sum().backward()
        assert x.grad is not None
        found.append(x.grad.cpu())
        del x, hidden
    assert torch.equal(*found) and peaks[1] <= peaks[0] - 4 * 4 * size
