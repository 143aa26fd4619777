"""Everything a run needs to go on exactly where it was: LoRA, optimizer, random state and position in the data."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rewardfl_app.models import lora
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    from rewardfl_app.config.schema import Config, Expert
    from rewardfl_app.runs.checkpoints import Checkpoint
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.engine import Engine, Ranks

logger = logging.getLogger(__name__)

_STATE_FILE = "trainer.json"


class CheckpointMismatch(Exception):
    """A checkpoint that cannot be continued with this configuration; the message says which setting differs."""


@dataclass(frozen=True)
class Position:
    """Where training is: updates made, the batch of samples in use (from 0), the optimisation rounds made on it, and
    the weight that the divergence has reached."""

    step: int = 0
    batch: int = 0
    round: int = 0
    kl_weight: float | None = None

    def after_update(self, num_train_epochs: int, kl_weight: float | None = None) -> Position:
        """The position after one more update."""
        if self.round + 1 < num_train_epochs:
            return Position(self.step + 1, self.batch, self.round + 1, kl_weight)
        return Position(self.step + 1, self.batch + 1, 0, kl_weight)


def save(
    run: RunFolder,
    position: Position,
    experts: dict[Expert, WanTransformer3DModel],
    engine: Engine,
    ranks: Ranks,
    config: Config,
) -> Path:
    """Writes and seals the checkpoint of `position`; all ranks call it. `experts` are the trained ones. Raises
    OSError."""
    if ranks.is_first:
        checkpoints.begin(run, position.step)
    ranks.wait()
    folder = checkpoints.temporary(run, position.step)
    random_state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random_state["cuda"] = torch.cuda.get_rng_state()
    torch.save({"optimizer": engine.optimizer_state(), "random": random_state}, _rank_file(folder, ranks.rank))
    if ranks.is_first:
        for name, expert in experts.items():
            lora.save(expert, lora.checkpoint_file(folder, name))
        state = {**asdict(position), "seed": config.train.seed, **_layout(config, ranks)}
        write_json_atomic(folder / _STATE_FILE, state)
    ranks.wait()
    final = folder
    if ranks.is_first:
        final = checkpoints.commit(run, position.step, folder)
    ranks.wait()
    return final


def load_lora(checkpoint: Checkpoint, experts: dict[Expert, WanTransformer3DModel]) -> None:
    """Puts the checkpoint's LoRA into the trained experts; before the engine is made, which copies them. Raises
    WeightsError."""
    for name, expert in experts.items():
        lora.load(expert, lora.checkpoint_file(checkpoint.path, name))


def load_state(checkpoint: Checkpoint, engine: Engine, ranks: Ranks, config: Config) -> Position:
    """Puts optimizer and random state back and returns the position. Raises CheckpointMismatch, WeightsError."""
    state = read_json(checkpoint.path / _STATE_FILE)
    if state is None:
        raise WeightsError(f"{checkpoint.path / _STATE_FILE} is missing or not JSON")
    for name, value in _layout(config, ranks).items():
        if state.get(name) != value:
            raise CheckpointMismatch(
                f"The checkpoint {checkpoint.path} was saved with {name} {state.get(name)}, but this run has {value}: "
                "continue with the former value, or start a new run."
            )
    own = _read(_rank_file(checkpoint.path, ranks.rank))
    engine.load_optimizer_state(own["optimizer"])
    torch.set_rng_state(own["random"]["cpu"])
    if "cuda" in own["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(own["random"]["cuda"])
    return Position(state["step"], state["batch"], state["round"], state.get("kl_weight"))


def _layout(config: Config, ranks: Ranks) -> dict[str, Any]:
    """What the optimizer state's division among the ranks depends on."""
    return {"zero_stage": config.deepspeed.zero_stage, "num_processes": ranks.size}


def _rank_file(folder: Path, rank: int) -> Path:
    return folder / f"rank{rank:04d}.pt"


def _read(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a damaged archive
        raise WeightsError(f"{path} is missing or damaged ({str(error).splitlines()[0]})") from error
