"""The rules on how training is spread over devices."""

from __future__ import annotations

from collections.abc import Iterator

from rewardfl_app.config.problems import Problem
from rewardfl_app.config.schema import Config


def zero(config: Config) -> Iterator[Problem]:
    """What offloading needs."""
    stage = config.deepspeed.zero_stage
    if config.deepspeed.offload_optimizer and stage == 0:
        message = (
            "The optimizer can be kept in CPU memory only with zero_stage 1, 2 or 3: set one of them, or turn this off."
        )
        yield Problem("deepspeed.offload_optimizer", message)
    if config.deepspeed.offload_parameters and stage != 3:
        message = f"The weights are divided only with zero_stage 3, but it is {stage}: set 3, or turn this off."
        yield Problem("deepspeed.offload_parameters", message)


def devices(config: Config) -> Iterator[Problem]:
    """One GPU per process, named once, in the form that the launcher takes."""
    field, named, processes = "deepspeed.devices", config.deepspeed.devices, config.deepspeed.num_processes
    if not named:
        return
    if config.deepspeed.hostfile:
        yield Problem(field, "A hostfile says itself how many GPUs of each machine are used: leave this empty.")
        return
    if len(set(named)) != len(named):
        yield Problem(field, f"A GPU is named twice in {','.join(named)}: name each once.")
    elif len(named) != processes:
        message = f"{len(named)} GPUs are named, but num_processes is {processes}: name one per process."
        yield Problem(field, message)
    if any(name.startswith("-") for name in named):
        yield Problem(field, f"There is no GPU {next(n for n in named if n.startswith('-'))}: count from 0.")
    elif processes > 1 and not all(name.isdecimal() for name in named):
        yield Problem(field, "With several processes GPUs are named by number: DeepSpeed's launcher takes no others.")
