"""Few tokens take few threads, and what was set before is there again afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from rewardfl_app.models import threads


@pytest.fixture(autouse=True)
def eight_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


def expert(heads: int) -> Any:
    return cast(
        Any,
        SimpleNamespace(config={"patch_size": (1, 2, 2), "num_attention_heads": heads, "attention_head_dim": 128}),
    )


@pytest.mark.parametrize(
    ("heads", "size", "number"),
    [
        (2, 8, 1),  # 80 tokens of width 256: 10 million operations
        (8, 8, 3),  # 80 of width 1024: 168 million
        (40, 60, 8),  # as large as Wan2.2: as many as there are
    ],
)
def test_threads_follow_the_work(heads: int, size: int, number: int) -> None:
    latents = torch.zeros(1, 16, 5, size, size)
    with threads.suited_to(expert(heads), latents):
        assert torch.get_num_threads() == number
        with threads.suited_to(expert(40), torch.zeros(1, 16, 21, 60, 104)):
            assert torch.get_num_threads() == number  # never more than outside
        assert torch.get_num_threads() == number
    assert torch.get_num_threads() == 8


def test_an_error_leaves_the_number_as_it_was() -> None:
    with pytest.raises(KeyError), threads.suited_to(expert(2), torch.zeros(1, 16, 5, 8, 8)):
        raise KeyError
    assert torch.get_num_threads() == 8


def test_an_accelerator_is_none_of_its_business() -> None:
    with threads.suited_to(expert(2), torch.zeros(1, 16, 5, 8, 8, device="meta")):
        assert torch.get_num_threads() == 8
