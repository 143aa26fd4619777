"""What cannot be divided is refused; what can is tested in processes, in training/test_context_parallel.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tiny_wan
import torch

from rewardfl_app.models import sampling, token_parallel
from rewardfl_app.models.sources import WeightsError


def of(size: int) -> Any:
    """What is asked of a group of processes before they talk to each other."""
    return SimpleNamespace(size=lambda: size, rank=lambda: 0)


def test_heads_that_cannot_be_divided() -> None:
    with pytest.raises(WeightsError, match="2 attention heads cannot be divided by 3"):
        token_parallel.divide(tiny_wan.transformer(), of(3))


def test_tokens_that_cannot_be_divided() -> None:
    network = tiny_wan.transformer()
    token_parallel.divide(network, of(2))
    x, condition, text = torch.zeros(1, 16, 3, 2, 2), torch.zeros(1, 20, 3, 2, 2), torch.zeros(1, 5, 16)
    with pytest.raises(ValueError, match="3 tokens cannot be divided by context_parallel 2"):
        sampling.predict_velocity(network, x, 0.5, text, condition)
