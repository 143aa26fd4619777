"""Dropout whose masks are a function of a key, so that a pass that is run again sees the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rewardfl_app.models.sampling import seeded_generator

Key = tuple[int, ...]
# run(block, *inputs): how a network runs a block that it does not keep the activations of
Checkpoint = Callable[..., Any]


class Masks:
    """What the dropout layers of one network share: the key in use, None when nothing is left out."""

    def __init__(self) -> None:
        self._key: Key | None = None

    @property
    def key(self) -> Key | None:
        return self._key

    @contextmanager
    def drawn_from(self, key: Key | None) -> Iterator[None]:
        """Inside, masks are drawn from `key`: non-negative integers, or None for no dropout."""
        before, self._key = self._key, key
        try:
            yield
        finally:
            self._key = before

    def kept_for(self, run: Checkpoint) -> Checkpoint:
        """`run`, with the key of the forward pass in the second run of each block, which the backward pass makes."""

        def keyed(block: nn.Module, *inputs: Any) -> Any:
            key = self._key

            def again(*inputs: Any) -> Any:
                with self.drawn_from(key):
                    return block(*inputs)

            return run(again, *inputs)

        return keyed


class KeyedDropout(nn.Module):
    """Leaves out a share of the entries and scales up the others; `place` tells the layers of a network apart."""

    def __init__(self, rate: float, place: int, masks: Masks) -> None:
        super().__init__()
        self.rate = rate
        self.place = place
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        """[...] in and out."""
        if self.masks.key is None:
            return x
        seed = seeded_generator(*self.masks.key, self.place).initial_seed()
        generator = torch.Generator(x.device).manual_seed(seed)
        kept = torch.empty(x.shape, dtype=torch.bool, device=x.device).bernoulli_(1 - self.rate, generator=generator)
        return x * kept * (1 / (1 - self.rate))
