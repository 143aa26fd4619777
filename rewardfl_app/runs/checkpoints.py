"""checkpoints/step_000025/: written under a temporary name, sealed with COMPLETE, then renamed.

COMPLETE lists every file with its size, so that a checkpoint cut short by a crash, a full disk or a bad copy is not
taken for one.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rewardfl_app.runs import best
from rewardfl_app.runs.alarm import MOTION_KEPT
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

MARKER = "COMPLETE"
_STEP_FOLDER = re.compile(r"step_(\d+)")


class CheckpointError(RunError):
    """A checkpoint that was asked for is missing or not complete."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint after `step` updates."""

    step: int
    path: Path


def begin(folder: RunFolder, step: int) -> Path:
    """Make the empty folder a checkpoint is written into and return it.

    With several ranks, rank 0 calls this, then all write.
    """
    path = temporary(folder, step)
    if path.exists():
        shutil.rmtree(path)  # left by a run that died while saving
    path.mkdir(parents=True)
    return path


def temporary(folder: RunFolder, step: int) -> Path:
    """Where a checkpoint of this step is while it is being written: the same on every rank."""
    return folder.checkpoints / f"writing_step_{step:06d}"


def commit(folder: RunFolder, step: int, written: Path) -> Path:
    """Seal what was written into the folder from `begin` and give it its final name.

    A former checkpoint of this step is replaced. With several ranks, rank 0 calls this after all have written. Raises
    OSError (nothing is renamed then).
    """
    files = sorted(path for path in written.rglob("*") if path.is_file() and path.name != MARKER)
    for path in files:
        _flush_to_disk(path)
    sizes = {path.relative_to(written).as_posix(): path.stat().st_size for path in files}
    write_json_atomic(written / MARKER, {"step": step, "files": sizes})
    _flush_to_disk(written / MARKER)
    final = folder.checkpoints / f"step_{step:06d}"
    if final.exists():
        replaced = folder.checkpoints / f"replaced_step_{step:06d}"
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(final, replaced)
        os.rename(written, final)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        os.rename(written, final)
    return final


def list_checkpoints(folder: RunFolder) -> list[Checkpoint]:
    """The complete checkpoints, by step. Unfinished and damaged ones are left out."""
    try:
        children = list(folder.checkpoints.iterdir())
    except FileNotFoundError:
        return []
    found = [
        Checkpoint(int(match.group(1)), path)
        for path in children
        if (match := _STEP_FOLDER.fullmatch(path.name)) and is_complete(path)
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def latest(folder: RunFolder) -> Checkpoint | None:
    """The complete checkpoint with the highest step; None when there is none."""
    checkpoints = list_checkpoints(folder)
    return checkpoints[-1] if checkpoints else None


def find(folder: RunFolder, step: int | str) -> Checkpoint:
    """The complete checkpoint of a step (a number, "latest", or "best": the one that best.json names).

    Raises CheckpointError, naming those that there are.
    """
    checkpoints = list_checkpoints(folder)
    if step == "best":
        chosen = best.read(folder)
        if chosen is None:
            raise CheckpointError(
                f"Run {folder.id} has no best checkpoint: at no evaluation was the identity up with at least "
                f"{MOTION_KEPT:.0%} of the motion kept and no alarm. Name a step or `latest`."
            )
        step = chosen.step
    for checkpoint in reversed(checkpoints):
        if step == "latest" or str(step) == str(checkpoint.step):
            return checkpoint
    steps = ", ".join(str(checkpoint.step) for checkpoint in checkpoints) or "none"
    raise CheckpointError(f"Run {folder.id} has no complete checkpoint {step!r}; complete are: {steps}.")


def is_complete(path: Path) -> bool:
    """Whether the folder is sealed and every file named in the seal has the size it had then."""
    seal = read_json(path / MARKER)
    if seal is None or not isinstance(files := seal.get("files"), dict):
        return False
    try:
        return all((path / name).stat().st_size == size for name, size in files.items())
    except OSError:
        return False


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
