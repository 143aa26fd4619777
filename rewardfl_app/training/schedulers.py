"""The learning rate as a function of the step, by Hugging Face's names; nothing to save or restore."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewardfl_app.config.schema import TrainConfig

# Hugging Face's defaults
_POLYNOMIAL_END = 1e-7
_TIMESCALE = 10_000


def learning_rate(train: TrainConfig, step: int) -> float:
    """The rate used for update `step` (from 1), as transformers' schedulers give it for their step - 1 (from 0)."""
    course = _Course(train.learning_rate, train.warmup_steps, train.max_steps, dict(train.lr_scheduler_kwargs))
    factor = getattr(course, train.lr_scheduler_type)
    return train.learning_rate * factor(step - 1)


@dataclass(frozen=True)
class _Course:
    """Factors on the learning rate after `done` updates; each method is one of config.learning_rates.OPTIONS."""

    rate: float
    warmup: int
    total: int
    options: Mapping[str, float]

    def constant(self, done: int) -> float:
        return 1.0

    def constant_with_warmup(self, done: int) -> float:
        return self._rising(done) if done < self.warmup else 1.0

    def linear(self, done: int) -> float:
        return self._rising(done) if done < self.warmup else max(0.0, 1.0 - self._progress(done))

    def cosine(self, done: int) -> float:
        return self._rising(done) if done < self.warmup else max(0.0, self._wave(self._progress(done)))

    def cosine_with_restarts(self, done: int) -> float:
        if done < self.warmup:
            return self._rising(done)
        progress = self._progress(done)
        turns = self.options.get("num_cycles", 1.0) * progress
        return 0.0 if progress >= 1.0 else 0.5 * (1.0 + math.cos(math.pi * (turns % 1.0)))

    def polynomial(self, done: int) -> float:
        if done < self.warmup:
            return self._rising(done)
        # Where the end is above the rate, transformers stops with an error.
        end = min(self.options.get("lr_end", _POLYNOMIAL_END) / self.rate, 1.0)
        return end + (1.0 - end) * max(0.0, 1.0 - self._progress(done)) ** self.options.get("power", 1.0)

    def inverse_sqrt(self, done: int) -> float:
        if done < self.warmup:
            return self._rising(done)
        timescale = self.options.get("timescale", self.warmup or _TIMESCALE)
        return 1.0 / math.sqrt((done + timescale - self.warmup) / timescale)

    def cosine_with_min_lr(self, done: int) -> float:
        if done < self.warmup:
            return self._rising(done)
        return max(0.0, self._above(self._wave(self._progress(done)), self._lowest))

    def cosine_warmup_with_min_lr(self, done: int) -> float:
        if done < self.warmup:
            first = self.options.get("warmup_lr_rate")
            if first is None:
                return (done + 1) / max(1, self.warmup)
            return first + (1.0 - first) * done / max(1, self.warmup - 1)
        progress = (done - self.warmup + 1) / max(1, self.total - self.warmup)
        return max(0.0, self._above(self._wave(progress), self._lowest))

    def warmup_stable_decay(self, done: int) -> float:
        decay, lowest = self.options["num_decay_steps"], self.options.get("min_lr_ratio", 0.0)
        stable = self.options.get("num_stable_steps", self.total - self.warmup - decay)
        if done < self.warmup:
            return max(0.0, self._above(self._rising(done), lowest))
        if done < self.warmup + stable:
            return 1.0
        if done < self.warmup + stable + decay:
            return max(0.0, self._above(self._wave((done - self.warmup - stable) / max(1, decay)), lowest))
        return lowest

    @property
    def _lowest(self) -> float:
        return self.options["min_lr_rate"] if "min_lr_rate" in self.options else self.options["min_lr"] / self.rate

    def _rising(self, done: int) -> float:
        return done / max(1, self.warmup)

    def _progress(self, done: int) -> float:
        return (done - self.warmup) / max(1, self.total - self.warmup)

    def _wave(self, progress: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * self.options.get("num_cycles", 0.5) * 2.0 * progress))

    @staticmethod
    def _above(factor: float, lowest: float) -> float:
        return factor * (1.0 - lowest) + lowest
