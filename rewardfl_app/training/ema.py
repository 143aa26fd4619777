"""The running mean of the trained weights, which is what is evaluated and exported where train.ema_decay is set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from rewardfl_app.training.optimizer_state import OptimizerState


class Ema:
    """mean_n = d_n mean_{n-1} + (1 - d_n) theta_n with d_n = min(decay, (n - 1) / n).

    At first it is the plain mean of all updates so far, so the values before the first update never weigh in; from
    update 1 / (1 - decay) on it is the exponential mean. Each rank keeps the mean of the part that it holds.
    """

    def __init__(self, parameters: list[nn.Parameter], state: OptimizerState, decay: float) -> None:
        self._state = state
        self._decay = decay
        self._means = {parameter: state.values(parameter).detach().clone() for parameter in parameters}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After update `step` (from 1)."""
        decay = min(self._decay, (step - 1) / step)
        for parameter, mean in self._means.items():
            mean.lerp_(self._state.values(parameter), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the trained parameters hold the mean; no update must be made."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def mean(self, parameter: nn.Parameter) -> Tensor:
        """This rank's part of the mean, as `OptimizerState.values` divides it."""
        return self._means[parameter]

    @torch.no_grad()
    def _swap(self) -> None:
        for parameter, mean in self._means.items():
            values = self._state.values(parameter)
            kept = values.clone()
            values.copy_(mean)
            mean.copy_(kept)
        self._state.given_up()
