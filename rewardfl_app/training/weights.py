"""What is trained and what moves it: the experts' adaptations, the engine and the running mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rewardfl_app.config import schedule
from rewardfl_app.models import adaptation
from rewardfl_app.training.ema import Ema
from rewardfl_app.training.engine import Engine

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert
    from rewardfl_app.models.adaptation import Adaptation
    from rewardfl_app.models.wan import WanModel


def adapt(model: WanModel, config: Config) -> dict[Expert, Adaptation]:
    """Makes the experts of a configuration trainable, each from its own seed."""
    return {
        expert: adaptation.adapt(model.experts[expert], config, config.train.seed + number)
        for number, expert in enumerate(schedule.trained_experts(config))
    }


class Weights:
    """The trained weights of a run."""

    def __init__(self, adaptations: Mapping[Expert, Adaptation], config: Config) -> None:
        """The adaptations must have the values to go on from."""
        self.adaptations = adaptations
        self.engine = Engine(adaptations, config)
        decay = config.train.ema_decay
        self.ema = Ema(self.engine.parameters, self.engine.state, decay) if decay else None

    def updated(self, step: int) -> None:
        """To be called after update `step`."""
        if self.ema is not None:
            self.ema.update(step)

    @contextmanager
    def rendering(self, base: bool) -> Iterator[None]:
        """Inside, every rank may run the experts by itself: as they were before training, or with the weights that are
        evaluated (the running mean, where there is one)."""
        if base:
            with self.engine.gathered(base=True), adaptation.untrained(self.adaptations.values()):
                yield
        elif self.ema is not None:
            with self.ema.applied(), self.engine.gathered():
                yield
        else:
            with self.engine.gathered():
                yield
