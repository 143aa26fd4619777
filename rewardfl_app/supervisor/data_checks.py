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
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardfl_app.config.paths import located
from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.runs import content, file_lock, typed
from rewardfl_app.runs.folder import RunError
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import process
from rewardfl_app.supervisor.child_log import last_words
from rewardfl_app.supervisor.command import PACKAGE_ROOT, inference_command, package_environment

FOLDER = ".data_checks"
KEPT = 20
CHECKER_VARIABLE = "REWARDFL_DATA_CHECKER"
GRACE_SECONDS = 5.0
_FINISHED = frozenset({"done", "failed", "cancelled"})
# All that decides what counts as a face; the rest of the section is about the reward.
_DETECTION = ("reward_model_path", "det_size", "det_threshold", "nms_threshold")


class DataCheckError(RunError):
    """A check cannot be started; the message is one sentence."""


@dataclass(frozen=True)
class DataCheck:
    """One check as it stands. `state` is starting, checking, done, failed or cancelled; `done` of `total` rows."""

    state: str
    done: int
    total: int | None
    message: str

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in _FINISHED


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
            write_json_atomic(folder / "status.json", _status("starting", 0, None, ""))
            command = _command(folder / "request.json")
            pid = process.start_detached(command, folder / "log.txt", PACKAGE_ROOT, package_environment())
            record = process.describe(pid, command, role="data-check", started=time.time())
            write_json_atomic(folder / "process.json", record)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise DataCheckError(
            f"The check cannot be written into {folder.parent} ({reason}): free space there."
        ) from error
    return _look(folder) or DataCheck("starting", 0, None, "")


def cancel(runs_dir: Path, metadata: Path, reward: RewardConfig) -> None:
    """End the check's processes; the rows that were done stay known. Nothing happens when it is not going on."""
    folder = _folder(runs_dir, metadata, reward)
    now, record = _look(folder), read_json(folder / "process.json")
    if now is None or now.is_finished or record is None:
        return
    process.end_session(record, GRACE_SECONDS)
    ended = _look(folder)
    if ended is None or ended.state != "done":
        write_json_atomic(folder / "status.json", _status("cancelled", now.done, now.total, "Cancelled."))


def _look(folder: Path) -> DataCheck | None:
    record = read_json(folder / "process.json")
    if record is None:
        return None
    status = read_json(folder / "status.json") or {}
    if str(status.get("state")) not in _FINISHED and process.on_this_machine(record) and not process.is_running(record):
        status = read_json(folder / "status.json") or {}  # it may have finished since
        if str(status.get("state")) not in _FINISHED:
            status = {**status, "state": "failed", "message": last_words(folder / "log.txt", "checking process")}
    done, total = status.get("done"), status.get("total")
    state = str(status.get("state") or "starting")
    return DataCheck(
        state="checking" if state == "scoring" else state,
        done=typed.whole(done) or 0,
        total=typed.whole(total),
        message=str(status.get("message") or ""),
    )


def _status(state: str, done: int, total: int | None, message: str) -> dict[str, object]:
    return {"state": state, "done": done, "total": total, "message": message}


def _folder(runs_dir: Path, metadata: Path, reward: RewardConfig) -> Path:
    asked = {"metadata": str(metadata.absolute()), **{name: getattr(reward, name) for name in _DETECTION}}
    return runs_dir.absolute() / FOLDER / content.digest(asked)[:20]


def _command(request: Path) -> Sequence[str]:
    """The child; REWARDFL_DATA_CHECKER holds another command to run instead, as REWARDFL_TRAINER does for training."""
    stand_in = os.environ.get(CHECKER_VARIABLE)
    if stand_in:
        return [*shlex.split(stand_in), "--request", str(request)]
    return inference_command("data-check", "--request", str(request))


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
