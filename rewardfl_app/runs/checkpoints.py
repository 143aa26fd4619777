"""checkpoints/step_000025/: written under a temporary name, sealed with COMPLETE, then renamed.

COMPLETE lists every file with its size and CRC-32, so that a checkpoint cut short by a crash, a full disk or a bad copy
is not taken for one, and one whose bytes were spoilt later is not resumed from.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rewardfl_app.runs import best, durable
from rewardfl_app.runs.alarm import MOTION_KEPT
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

MARKER = "COMPLETE"
_STEP_FOLDER = re.compile(r"step_(\d+)")
_WRITING, _REPLACED, _REMOVED, _DAMAGED = "writing_", "replaced_", "removed_", "damaged_"
_BLOCK = 2**20  # bytes read at a time


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
    return folder.checkpoints / f"{_WRITING}{_name(step)}"


def commit(folder: RunFolder, step: int, written: Path) -> Path:
    """Seal what was written into the folder from `begin` and give it its final name; it is on the disk then.

    A former checkpoint of this step is replaced. With several ranks, rank 0 calls this after all have written. Raises
    OSError (nothing is renamed then).
    """
    files = sorted(path for path in written.rglob("*") if path.is_file() and path.name != MARKER)
    for path in files:
        durable.flush(path)
    names = {path: path.relative_to(written).as_posix() for path in files}
    sizes = {names[path]: path.stat().st_size for path in files}
    sums = {names[path]: _checksum(path) for path in files}
    write_json_atomic(written / MARKER, {"step": step, "files": sizes, "crc32": sums})
    _put_in_place(folder, step, written)
    return folder.checkpoints / _name(step)


def recover(folder: RunFolder) -> list[str]:
    """Finish or clear away what a crash has left half done, and put aside a newest checkpoint whose bytes are spoilt.

    Only while nobody writes there. Returns a sentence for each thing that a person should know. Raises OSError.
    """
    told = []
    for path in _children(folder):
        prefix = next((p for p in (_WRITING, _REPLACED, _REMOVED) if path.name.startswith(p)), None)
        match = None if prefix is None else _STEP_FOLDER.fullmatch(path.name.removeprefix(prefix))
        if match is None:
            continue
        step = int(match.group(1))
        final = folder.checkpoints / _name(step)
        if prefix == _WRITING and flaw(path) is None:
            _put_in_place(folder, step, path)
            told.append(f"The checkpoint of step {step} was complete when the run was cut off, and is kept.")
        elif prefix == _REPLACED and not final.exists() and is_complete(path):
            durable.rename(path, final)
        else:
            shutil.rmtree(path, ignore_errors=True)
            if prefix == _WRITING:
                told.append(f"The checkpoint of step {step} was cut off while it was written, and is removed.")
    while (newest := latest(folder)) is not None and (spoilt := flaw(newest.path)) is not None:
        aside = folder.checkpoints / f"{_DAMAGED}{newest.path.name}"
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(newest.path, aside)
        told.append(f"The checkpoint of step {newest.step} is damaged ({spoilt}): it is kept aside as {aside.name}.")
    return told


def remove_old(folder: RunFolder, keep: int, steps: Collection[int] = ()) -> list[int]:
    """Remove all but the newest `keep` complete checkpoints and those of `steps`; returns the steps that went.

    Each is taken out of sight first, so that no reader meets half of one. Raises OSError.
    """
    old = [found for found in list_checkpoints(folder)[:-keep] if found.step not in steps]
    for checkpoint in old:
        gone = folder.checkpoints / f"{_REMOVED}{checkpoint.path.name}"
        os.rename(checkpoint.path, gone)
        shutil.rmtree(gone, ignore_errors=True)
    return [checkpoint.step for checkpoint in old]


def list_checkpoints(folder: RunFolder) -> list[Checkpoint]:
    """The complete checkpoints, by step. Unfinished and damaged ones are left out."""
    found = [
        Checkpoint(int(match.group(1)), path)
        for path in _children(folder)
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
    return _size_flaw(path) is None


def flaw(path: Path) -> str | None:
    """What is wrong with a checkpoint's folder, every byte looked at; None when nothing is."""
    found = _size_flaw(path)
    if found is not None:
        return found
    seal = read_json(path / MARKER) or {}
    sums = seal.get("crc32")
    for name, value in (sums if isinstance(sums, dict) else {}).items():
        try:
            if _checksum(path / name) != value:
                return f"{name} is not what was written"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror or error}"
    return None


def num_bytes(path: Path) -> int:
    """How much room a checkpoint takes, by its seal; 0 without one."""
    files = (read_json(path / MARKER) or {}).get("files")
    return sum(size for size in files.values() if isinstance(size, int)) if isinstance(files, dict) else 0


def _size_flaw(path: Path) -> str | None:
    seal = read_json(path / MARKER)
    if seal is None or not isinstance(files := seal.get("files"), dict):
        return f"it has no {MARKER}"
    for name, size in files.items():
        try:
            found = (path / name).lstat()
        except (OSError, ValueError):
            return f"{name} is missing"
        if not stat.S_ISREG(found.st_mode):  # a device has no end
            return f"{name} is no file"
        if found.st_size != size:
            return f"{name} has {found.st_size} bytes of {size}"
    return None


def _put_in_place(folder: RunFolder, step: int, written: Path) -> None:
    final = folder.checkpoints / _name(step)
    replaced = folder.checkpoints / f"{_REPLACED}{_name(step)}"
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(final, replaced)
    durable.rename(written, final)
    shutil.rmtree(replaced, ignore_errors=True)


def _name(step: int) -> str:
    return f"step_{step:06d}"


def _children(folder: RunFolder) -> list[Path]:
    try:
        return sorted(folder.checkpoints.iterdir())
    except OSError:
        return []


def _checksum(path: Path) -> str:
    value = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return f"{value:08x}"
