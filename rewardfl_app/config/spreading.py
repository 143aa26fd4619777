"""The rules on how training is spread over devices."""

from __future__ import annotations

from collections.abc import Iterator

from rewardfl_app.config import family
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


# Attention whose backward pass works across processes.
_DIVIDED_ATTENTION = ("native", "native_flash")


def context(config: Config) -> Iterator[Problem]:
    """What processes that share a video can divide, and what they cannot do."""
    field, shares = "deepspeed.context_parallel", config.deepspeed.context_parallel
    if shares == 1:
        return
    processes, stage, kind = config.deepspeed.num_processes, config.deepspeed.zero_stage, family.of(config.model)
    if processes % shares:
        message = f"num_processes {processes} cannot be divided by context_parallel {shares}: make it a multiple."
        yield Problem("deepspeed.num_processes", message)
    if kind.heads % shares:
        divisors = ", ".join(str(n) for n in range(1, kind.heads + 1) if kind.heads % n == 0)
        message = f"The {kind.heads} attention heads of {kind.title} cannot be divided by {shares}: use {divisors}."
        yield Problem(field, message)
    if stage == 3:
        message = (
            "Processes that share a video hold all weights: set zero_stage to 2 or less, or context_parallel to 1."
        )
        yield Problem("deepspeed.zero_stage", message)
    if config.model.attention_backend not in _DIVIDED_ATTENTION:
        message = (
            f"{config.model.attention_backend} has no backward pass for a video that processes share: set "
            f"{' or '.join(_DIVIDED_ATTENTION)}, or context_parallel to 1."
        )
        yield Problem("model.attention_backend", message)
    if config.model.compile_blocks:
        message = (
            "Blocks of a video that processes share cannot be compiled: turn this off, or set context_parallel to 1."
        )
        yield Problem("model.compile_blocks", message)
    if config.lora.lora_dropout > 0:
        message = (
            "Processes that share a video would draw other masks than one: set lora_dropout to 0, or context_parallel "
            "to 1."
        )
        yield Problem("lora.lora_dropout", message)


def tokens(config: Config) -> Iterator[Problem]:
    """Every video has a number of tokens that can be divided."""
    shares, data = config.deepspeed.context_parallel, config.data
    if shares == 1:
        return
    if data.height is None or data.width is None:
        if data.height == data.width:  # else another rule tells
            message = (
                "Processes can share videos of one size alone, whose tokens can be counted: set height and width, or "
                "context_parallel to 1."
            )
            yield Problem("data.height", message)
        return
    kind = family.of(config.model)
    if data.height % kind.size_multiple or data.width % kind.size_multiple:
        return  # another rule tells
    count = kind.num_tokens(data.num_frames, data.height, data.width)
    if count % shares:
        frames = (data.num_frames - 1) // family.TEMPORAL_FACTOR + 1
        rows, columns = data.height // kind.size_multiple, data.width // kind.size_multiple
        message = (
            f"The {frames} x {rows} x {columns} = {count} tokens of a video cannot be divided by {shares}: change it, "
            "or height, width or num_frames."
        )
        yield Problem("deepspeed.context_parallel", message)
