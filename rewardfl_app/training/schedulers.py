"""The learning rate as a function of the step, by Hugging Face's names; nothing to save or restore."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewardfl_app.config.schema import TrainConfig

# Hugging Face's defaults for `polynomial`
_POLYNOMIAL_POWER = 1.0
_POLYNOMIAL_END = 1e-7


def learning_rate(train: TrainConfig, step: int) -> float:
    """The rate used for update `step` (from 1), as transformers' schedulers give it for their step - 1 (from 0)."""
    done = step - 1
    kind = train.lr_scheduler_type
    if kind == "constant":
        return train.learning_rate
    if done < train.warmup_steps:
        return train.learning_rate * done / max(1, train.warmup_steps)
    if kind == "constant_with_warmup":
        return train.learning_rate
    progress = (done - train.warmup_steps) / max(1, train.max_steps - train.warmup_steps)
    if kind == "linear":
        return train.learning_rate * max(0.0, 1.0 - progress)
    if kind == "cosine":
        return train.learning_rate * max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
    end = min(_POLYNOMIAL_END, train.learning_rate)
    return end + (train.learning_rate - end) * max(0.0, 1.0 - progress) ** _POLYNOMIAL_POWER
