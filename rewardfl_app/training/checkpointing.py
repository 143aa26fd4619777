"""Everything a run needs to go on exactly where it was: trained weights, optimizer, random state and position in the
data.

A checkpoint folder holds, per trained expert, NAME.safetensors (what is evaluated and exported), with a running mean
also NAME.trained.safetensors (what it is the mean of), and AdamW's moments; none of it depends on the number of
processes or the ZeRO stage.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from rewardfl_app.models.adaptation import checkpoint_file
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.models.tensor_file import open_tensors
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.training.optimizer_state import MOMENTS

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert
    from rewardfl_app.models.adaptation import Adaptation
    from rewardfl_app.runs.checkpoints import Checkpoint
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.ranks import Ranks
    from rewardfl_app.training.weights import Weights

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


def save(run: RunFolder, position: Position, weights: Weights, ranks: Ranks, config: Config) -> Path:
    """Writes and seals the checkpoint of `position`; all ranks call it. Raises OSError."""
    if ranks.is_first:
        checkpoints.begin(run, position.step)
    ranks.wait()
    folder = checkpoints.temporary(run, position.step)
    save_file(_random_state(), _random_file(folder, ranks.rank))
    for expert, adapted in weights.adaptations.items():
        _save_expert(folder, expert, adapted, weights, ranks.is_first)
    if ranks.is_first:
        state = {**asdict(position), "seed": config.train.seed, **_settled(config)}
        write_json_atomic(folder / _STATE_FILE, state)
    ranks.wait()
    final = folder
    if ranks.is_first:
        final = checkpoints.commit(run, position.step, folder)
    ranks.wait()
    return final


def num_bytes(run: RunFolder, weights: Weights) -> int:
    """About how much room the next checkpoint takes: as much as the last one, else what its tensors hold."""
    latest = checkpoints.latest(run)
    if latest is not None:
        return checkpoints.num_bytes(latest.path)
    count = sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in weights.engine.parameters)
    return 4 * count * (1 + len(MOMENTS) + (weights.ema is not None))  # all saved in float32 at most


def load_weights(checkpoint: Checkpoint, adaptations: Mapping[Expert, Adaptation]) -> None:
    """Puts the trained values back; before the engine is made, which copies them. Raises WeightsError."""
    for expert, adapted in adaptations.items():
        trained = _trained_file(checkpoint.path, expert)
        adapted.load(trained if trained.exists() else checkpoint_file(checkpoint.path, expert))


def load_state(checkpoint: Checkpoint, weights: Weights, ranks: Ranks, config: Config) -> Position:
    """Puts optimizer, mean and random state back and returns the position. Raises CheckpointMismatch, WeightsError."""
    state = read_json(checkpoint.path / _STATE_FILE)
    if state is None:
        raise WeightsError(f"{checkpoint.path / _STATE_FILE} is missing or not JSON")
    for name, value in _settled(config).items():
        if state.get(name) != value:
            raise CheckpointMismatch(
                f"The checkpoint {checkpoint.path} was saved with {name} {state.get(name)}, but this run has {value}: "
                "continue with the former value, or start a new run."
            )
    weights.engine.state.start_from(state["step"])
    for expert, adapted in weights.adaptations.items():
        _load_expert(checkpoint.path, expert, adapted, weights)
    own = _random_file(checkpoint.path, ranks.rank)
    if own.exists():  # with more processes than before, the others start with their own
        random_state = dict(_tensors(own))
        torch.set_rng_state(random_state["cpu"])
        if "cuda" in random_state and torch.cuda.is_available():
            torch.cuda.set_rng_state(random_state["cuda"])
    return Position(state["step"], state["batch"], state["round"], state.get("kl_weight"))


def _save_expert(folder: Path, expert: Expert, adapted: Adaptation, weights: Weights, write: bool) -> None:
    state, parameters = weights.engine.state, adapted.named_parameters()

    def gathered(tensor_of: Callable[[nn.Parameter], Tensor]) -> dict[str, Tensor]:
        """All ranks take part; one keeps the result, in CPU memory and for one file at a time."""
        kept = {}
        for name, parameter in parameters.items():
            whole = tensor_of(parameter)
            if write:
                kept[name] = whole.detach().cpu().contiguous()
        return kept

    trained = gathered(lambda parameter: state.whole(parameter, state.values(parameter)))
    ema = weights.ema
    if ema is not None:
        if write:
            adapted.save(_trained_file(folder, expert), trained)
        trained = gathered(lambda parameter: state.whole(parameter, ema.mean(parameter)))
    if write:
        adapted.save(checkpoint_file(folder, expert), trained)
    del trained
    for moment in MOMENTS:
        values = gathered(lambda parameter, moment=moment: state.whole_moment(parameter, moment))  # type: ignore[misc]
        if write:
            save_file(values, _moment_file(folder, expert, moment))


def _load_expert(folder: Path, expert: Expert, adapted: Adaptation, weights: Weights) -> None:
    state, parameters = weights.engine.state, adapted.named_parameters()
    for moment in MOMENTS:
        path = _moment_file(folder, expert, moment)
        for name, value in _tensors(path, set(parameters)):
            state.put_moment(parameters[name], moment, value)
    if weights.ema is not None:
        for name, value in _tensors(checkpoint_file(folder, expert), set(parameters)):
            weights.ema.mean(parameters[name]).copy_(state.part(parameters[name], value))


def _settled(config: Config) -> dict[str, Any]:
    """What a continued run must not change: the place in the data, and what the files are."""
    return {"train_batch_size": config.train.train_batch_size, "ema": config.train.ema_decay > 0}


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _random_file(folder: Path, rank: int) -> Path:
    return folder / f"random{rank:04d}.safetensors"


def _trained_file(folder: Path, expert: Expert) -> Path:
    return folder / f"{expert}.trained.safetensors"


def _moment_file(folder: Path, expert: Expert, moment: str) -> Path:
    return folder / f"{expert}.{moment}.safetensors"


def _tensors(path: Path, expected: set[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file, one at a time. Raises WeightsError where it is damaged or has other names."""
    try:
        with open_tensors(path) as opened:
            names = list(opened.keys())
            if expected is not None and set(names) != expected:
                raise WeightsError(f"{path} is of another training: {sorted(set(names) ^ expected)[0]} does not match")
            for name in names:
                yield name, opened.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is missing or damaged ({str(error).splitlines()[0]})") from error
