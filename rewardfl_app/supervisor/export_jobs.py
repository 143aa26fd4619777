"""Exports of what a run trained: a detached child process each, into the run's folder.

RUN/exports/step_000025_diffusers/ is the export, in place as a whole when it is done. A folder of the same name in
RUN/exports/.jobs/ holds request.json, process.json, status.json (the child's own account) and log.txt. The name follows
from what is asked, so that the same export is made once; it is made again when the checkpoint is newer.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardfl_app.inference.export_target import FACTS, Format, Target
from rewardfl_app.runs import checkpoints, file_lock, typed
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import process, supervisor, thaw
from rewardfl_app.supervisor.child_log import last_words
from rewardfl_app.supervisor.command import PACKAGE_ROOT, inference_command, package_environment

JOBS = ".jobs"
EXPORTER_VARIABLE = "REWARDFL_EXPORTER"
GRACE_SECONDS = 5.0
_FINISHED = frozenset({"done", "failed"})
_ID = re.compile(r"step_\d+_[a-z_]+")


class ExportJobError(RunError):
    """An export cannot be started; the message is one sentence."""


@dataclass(frozen=True)
class ExportJob:
    """One export as it stands. `state` is starting, working, done or failed; `done` of `total` tensors, which only
    whole weights tell.

    `target` is the folder of the export, `files` what is in it once it is done.
    """

    folder: Path
    target: Path
    step: int
    format: Format
    state: str
    done: int
    total: int | None
    message: str
    files: tuple[Path, ...]

    @property
    def id(self) -> str:
        """The job's id: the name of its folder and of the export's."""
        return self.folder.name

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in _FINISHED


def start(run: RunFolder, checkpoint: str, kind: Format) -> ExportJob:
    """Export a checkpoint (latest, best or a step) of a run.

    An export of it that is going on is returned, and one that is done and not older than the checkpoint. Raises
    ConfigError, CheckpointError, ExportError and ExportJobError.
    """
    from rewardfl_app.inference import passport_facts  # brings PyAV: 0.2 s that the start of the app need not wait for

    settings, found = supervisor.settings(run), checkpoints.find(run, checkpoint)
    target = Target(run.exports / f"step_{found.step:06d}_{kind.replace('-', '_')}", replace=True)
    folder = run.exports / JOBS / target.path.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with file_lock.held(folder.parent / ".lock"):
            now = look(folder)
            if now is not None and not now.is_finished:
                return now
            if now is not None and now.state == "done" and _modified(folder / "process.json") >= _modified(found.path):
                return now
            target.check(settings, kind)
            _clear(folder, target.path)
            folder.mkdir()
            request = {
                "run": run.path.absolute(),
                "checkpoint": str(found.step),
                "format": kind.value,
                "out": target.path.absolute(),
                "licences": passport_facts.licences(thaw.without_embedded(settings)),
                "status": (folder / "status.json").absolute(),
            }
            write_json_atomic(folder / "request.json", request)
            command = _command((folder / "request.json").absolute())
            pid = process.start_detached(command, folder / "log.txt", PACKAGE_ROOT, package_environment())
            record = process.describe(pid, command, role="exporter", started=time.time())
            write_json_atomic(folder / "process.json", record)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"The export cannot be written into {run.exports} ({reason}): free space there."
        raise ExportJobError(message) from error
    job = look(folder)
    assert job is not None
    return job


def list_jobs(run: RunFolder) -> list[ExportJob]:
    """Every export of a run, newest first."""
    try:
        names = [entry.name for entry in os.scandir(run.exports / JOBS)]
    except OSError:
        return []
    jobs = [job for name in names if (job := find(run, name)) is not None]
    return sorted(jobs, key=lambda job: _modified(job.folder / "process.json"), reverse=True)


def find(run: RunFolder, job_id: str) -> ExportJob | None:
    """The export of this id of a run; None when there is none."""
    return look(run.exports / JOBS / job_id) if _ID.fullmatch(job_id) else None


def look(folder: Path) -> ExportJob | None:
    """The export of this folder as its files and its process tell; None when there is none, or it was moved away."""
    request, record = read_json(folder / "request.json"), read_json(folder / "process.json")
    if request is None or record is None or request.get("format") not in list(Format):
        return None
    target = folder.parent.parent / folder.name
    alive = not process.on_this_machine(record) or process.is_running(record)
    status = read_json(folder / "status.json") or {}
    state, message = str(status.get("state") or "starting"), str(status.get("message") or "")
    if not alive:
        state = "done" if (target / FACTS).is_file() else "failed"
        if state == "failed" and status.get("state") == "done":
            return None
        message = last_words(folder / "log.txt", "exporting process") if state == "failed" else ""
    return ExportJob(
        folder=folder,
        target=target,
        step=int(folder.name.split("_")[1]),
        format=Format(request["format"]),
        state="working" if state == "scoring" else state,
        done=typed.whole(status.get("done")) or 0,
        total=typed.whole(status.get("total")),
        message=message,
        files=tuple(sorted(path for path in target.rglob("*") if path.is_file())) if state == "done" else (),
    )


def remove(run: RunFolder, job: ExportJob) -> None:
    """Remove an export from the disk; one that is going on is ended first. Raises OSError."""
    with file_lock.held(job.folder.parent / ".lock"):
        record = read_json(job.folder / "process.json")
        if record is not None:
            process.end_session(record, GRACE_SECONDS)
        _clear(job.folder, job.target)


def _clear(folder: Path, target: Path) -> None:
    """Remove a job, its export, and what a process that was ended had begun to write (see `Target.unfinished`)."""
    for path in (folder, target, *target.parent.glob(f".{target.name}-*")):
        if path.exists():
            shutil.rmtree(path)


def _command(request: Path) -> Sequence[str]:
    """The child; REWARDFL_EXPORTER holds another command to run instead, as REWARDFL_TRAINER does for training."""
    stand_in = os.environ.get(EXPORTER_VARIABLE)
    if stand_in:
        return [*shlex.split(stand_in), "--request", str(request)]
    return inference_command("export", "--request", str(request))


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
