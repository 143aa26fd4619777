"""failure.json: what the trainer itself knows about why it fails, for the exit report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.secrets import redacted
from rewardfl_app.data.errors import DataError
from rewardfl_app.models import compiled_blocks
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.rewards.pack import PackError
from rewardfl_app.runs import reserve
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.training.checkpointing import CheckpointMismatch
from rewardfl_app.training.room import DiskFull
from rewardfl_app.training.step import NonFiniteLoss

if TYPE_CHECKING:
    from rewardfl_app.runs.folder import RunFolder

BAD_INPUT = 2
FAILED = 1

# What gloo says when the other end is gone, or does not answer in time.
_LOST_PEER = re.compile(
    r"Connection closed by peer|Connection reset by peer|Broken pipe|Timed out waiting \d+ms for|gloo/transport"
)

_GPU_ADVICE = (
    "Lower data.num_frames, data.max_pixels or train.per_device_train_batch_size, take fewer gradient steps (a higher "
    "sampling.mid_timestep), or turn on model.use_gradient_checkpointing_offload."
)


class PeerFailed(Exception):
    """Another rank met the error; that rank says what it is."""


def is_of_a_peer(error: BaseException) -> bool:
    """Whether an error is only the loss of another rank, as torch.distributed tells it."""
    if "out of memory" in str(error):
        return False
    if isinstance(error, PeerFailed | torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and _LOST_PEER.search(str(error)) is not None


def explain(error: BaseException, phase: str, step: int) -> tuple[int, str, str, str]:
    """Return code, cause, sentence and next step for an error met in `phase` after update `step`."""
    where = f"while {phase}" + (f" after step {step}" if step else "")
    if isinstance(error, DiskFull):
        return FAILED, "disk_full", error.sentence, "Free space, then resume."
    if reserve.is_full(error):  # before what it came to: a video that cannot be written is no bad row
        return (
            FAILED,
            "disk_full",
            f"The disk is full: a file of the run could not be written {where}.",
            "Free space, then resume.",
        )
    if isinstance(error, ConfigError | CheckpointMismatch):
        return BAD_INPUT, "bad_config", _line(error), "Correct the setting and start again."
    if isinstance(error, DataError):
        return BAD_INPUT, "bad_data", _line(error), "Correct or remove that row and start again."
    if isinstance(error, WeightsError | PackError):
        return (
            BAD_INPUT,
            "bad_weights",
            _line(error),
            "Download or copy that file again, or correct its path, and start again.",
        )
    if isinstance(error, NonFiniteLoss):
        advice = (
            "Lower train.learning_rate or train.max_grad_norm, or use model.dtype float32; resume continues from the "
            "last checkpoint."
        )
        return FAILED, "non_finite_loss", _line(error), advice
    if isinstance(error, torch.OutOfMemoryError):
        return FAILED, "out_of_gpu_memory", f"The GPU ran out of memory {where}.", _GPU_ADVICE
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        advice = "Lower evaluation.batch_size or train.per_device_train_batch_size, or free memory, then resume."
        return FAILED, "out_of_host_memory", f"This machine ran out of memory (RAM) {where}.", advice
    if compiled_blocks.is_of_compiler(error):
        sentence = f"The transformer's blocks could not be compiled {where}: {type(error).__name__}: {_line(error)}"
        return BAD_INPUT, "bad_config", sentence, "Turn model.compile_blocks off, then start again or resume."
    sentence = (
        f"The trainer failed {where} for a reason unknown to this program: {type(error).__name__}: {_line(error)}"
    )
    return FAILED, "unknown", sentence, "Read the end of train.log; resume continues from the last checkpoint."


def write(run: RunFolder, error: BaseException, phase: str, step: int) -> int:
    """Writes failure.json and returns the process's exit code. The rank that met the error calls it."""
    code, cause, sentence, next_step = explain(error, phase, step)
    account = {"cause": cause, "sentence": sentence, "next_step": next_step}
    reserve.last_words(run, lambda: write_json_atomic(run.failure, account))
    return code


def _line(error: BaseException) -> str:
    return redacted(" ".join(str(error).split())) or type(error).__name__
