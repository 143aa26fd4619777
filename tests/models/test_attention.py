"""Every way to compute attention that can be chosen gives the same output and the same gradient, or says why not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from tiny_wan import model_config
from torch import Tensor

from rewardfl_app.models import wan
from rewardfl_app.models.sources import WeightsError


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """diffusers also sets what transformers take that were told nothing."""
    yield
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)


def results(folder: Path, backend: str) -> tuple[Tensor, Tensor]:
    expert = wan.load(model_config(folder, attention_backend=backend)).experts["low_noise"]
    x = torch.linspace(-1, 1, 36 * 2 * 4 * 6).view(1, 36, 2, 4, 6).sin().requires_grad_(True)
    text = torch.linspace(-1, 1, 5 * 16).view(1, 5, 16)
    output = expert(hidden_states=x, timestep=torch.tensor([700.0]), encoder_hidden_states=text)[0]
    return output.detach(), torch.autograd.grad(output.square().sum(), x)[0]


@pytest.mark.parametrize("backend", ["native_math", "native_flash"])
def test_the_output_and_its_gradient_stay(saved_pipeline: Path, backend: str) -> None:
    for got, want in zip(results(saved_pipeline, backend), results(saved_pipeline, "native"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_it_is_held_to_the_one_that_was_chosen(saved_pipeline: Path) -> None:
    expert = wan.load(model_config(saved_pipeline, attention_backend="native_math")).experts["high_noise"]
    chosen = {block.attn1.processor._attention_backend for block in expert.blocks}
    assert chosen == {AttentionBackendName._NATIVE_MATH}


def test_a_package_that_is_missing_is_told(saved_pipeline: Path) -> None:
    with pytest.raises(WeightsError, match="attention_backend: xformers cannot be used here.*set native"):
        _ = wan.load(model_config(saved_pipeline, attention_backend="xformers")).experts["low_noise"]
