"""The model of a run, ready to render: the base model, or with what one of its checkpoints trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rewardfl_app.config import schedule
from rewardfl_app.models import adaptation, wan
from rewardfl_app.models.sampling import Grid
from rewardfl_app.runs import checkpoints, settings

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.runs.folder import RunFolder

BASE = "base"


@dataclass(frozen=True)
class Session:
    """A loaded model with the configuration it came from. `step` is the checkpoint's, 0 for the base model."""

    config: Config
    model: WanModel
    grid: Grid
    step: int


def load(run: RunFolder, checkpoint: str) -> Session:
    """Loads the model of a run folder (config.yaml is enough) at "base", "latest", "best" or a step.

    Raises ConfigError, CheckpointError, WeightsError.
    """
    config = settings.load(run, check_files=False)
    chosen = None if checkpoint == BASE else checkpoints.find(run, checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = wan.load(config.model, device)
    if chosen is not None:
        for name in schedule.trained_experts(config):
            adaptation.restore(model.experts[name], config, adaptation.checkpoint_file(chosen.path, name))
    return Session(config, model, Grid.of(config), 0 if chosen is None else chosen.step)
