"""Looking for faces in the clips of a metadata.csv: a detached child process, and what it found, kept by content.

RUNS_DIR/.data_checks/ID/ holds request.json, process.json, status.json (the child's own account), log.txt and
data_check.json of the check of one table with one face pack; a second start of the same check takes its place.
RUNS_DIR/.data_checks/faces_PACK.jsonl is what was found with a face pack and its settings: a clip that was looked at is
not looked at again, so a check that was cancelled goes on where it was, and the page sees every row as soon as it is
done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rewardfl_app.config.paths import located
from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.runs import content, file_lock
from rewardfl_app.runs.folder import RunError
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.supervisor import child_job
from rewardfl_app.supervisor.child_job import ChildJob

FOLDER = ".data_checks"
KEPT = 20
CHECKER_VARIABLE = "REWARDFL_DATA_CHECKER"
# All that decides what counts as a face; the rest of the section is about the reward.
_DETECTION = ("reward_model_path", "det_size", "det_threshold", "nms_threshold")


class DataCheckError(RunError):
    """A check cannot be started; the message is one sentence."""


class DataCheck(ChildJob):
    """One check as it stands; `done` of `total` rows."""


def findings_path(runs_dir: Path, reward: RewardConfig) -> Path:
    """The file of what was found with this face pack and detection settings. Raises OSError without a pack."""
    values = {name: getattr(reward, name) for name in _DETECTION}
    pack = content.tree_digest(located(str(values.pop("reward_model_path"))), ".onnx")
    return runs_dir.absolute() / FOLDER / f"faces_{content.digest({'pack': pack, **values})[:16]}.jsonl"


def look(runs_dir: Path, metadata: Path, reward: RewardConfig) -> DataCheck | None:
    """The check of this table with this face pack as its files and its process tell; None when there was none."""
    return _look(_folder(runs_dir, metadata, reward))


def start(runs_dir: Path, metadata: Path, reward: RewardConfig) -> DataCheck:
    """Start checking, or return the same check that is going on already, from whichever process it was started.

    Raises DataCheckError when the face pack is missing or the runs folder cannot be written.
    """
    folder = _folder(runs_dir, metadata, reward)
    try:
        findings = findings_path(runs_dir, reward)
    except OSError as error:
        raise DataCheckError(f"The face pack {reward.reward_model_path} cannot be read: correct its path.") from error
    try:
        with _one_at_a_time(folder.parent):
            now = _look(folder)
            if now is not None and not now.is_finished:
                return now
            shutil.rmtree(folder, ignore_errors=True)
            _prune(folder.parent)
            folder.mkdir()
            settings = {name: getattr(reward, name) for name in _DETECTION}
            request = {"metadata": metadata, "reward": settings, "out": folder, "findings": findings}
            write_json_atomic(folder / "request.json", request)
            asked = ("--request", str(folder / "request.json"))
            child_job.begin(folder, "data-check", child_job.command(CHECKER_VARIABLE, "data-check", *asked))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataCheckError(
            f"The check cannot be written into {folder.parent} ({reason}): free space there."
        ) from error
    return _look(folder) or DataCheck(folder, "starting", 0, None, "")


def cancel(runs_dir: Path, metadata: Path, reward: RewardConfig) -> None:
    """End the check's processes; the rows that were done stay known. Nothing happens when it is not going on."""
    now = look(runs_dir, metadata, reward)
    if now is not None:
        child_job.cancel(now)


def _look(folder: Path) -> DataCheck | None:
    account = child_job.account(folder, "checking process")
    return None if account is None else DataCheck(folder=folder, **account)


def _folder(runs_dir: Path, metadata: Path, reward: RewardConfig) -> Path:
    asked = {"metadata": str(metadata.absolute()), **{name: getattr(reward, name) for name in _DETECTION}}
    return runs_dir.absolute() / FOLDER / content.digest(asked)[:20]


@contextlib.contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with file_lock.held(root / ".lock"):
        yield


def _prune(root: Path) -> None:
    """Remove the oldest checks that have ended, so that with a new one KEPT stay; what they found is kept."""
    folders = [Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT - 1 :]:
        found = _look(folder)
        if found is None or found.is_finished:
            shutil.rmtree(folder, ignore_errors=True)
