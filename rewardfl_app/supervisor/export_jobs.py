"""Exports of what a run trained: a detached child process each, into the run's folder.

RUN/exports/step_000025_diffusers/ is the export, in place as a whole when it is done. A folder of the same name in
RUN/exports/.jobs/ holds request.json, process.json, status.json (the child's own account) and log.txt. The name follows
from what is asked, so that the same export is made once; it is made again when the checkpoint is newer.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rewardfl_app.inference.export_target import FACTS, Format, Target
from rewardfl_app.runs import checkpoints, file_lock
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import child_job, supervisor, thaw
from rewardfl_app.supervisor.child_job import ChildJob, Status

JOBS = ".jobs"
EXPORTER_VARIABLE = "REWARDFL_EXPORTER"
_ID = re.compile(r"step_\d+_[a-z_]+")


class ExportJobError(RunError):
    """An export cannot be started; the message is one sentence."""


@dataclass(frozen=True)
class ExportJob(ChildJob):
    """One export as it stands; whole weights alone tell `done` of `total` tensors.

    `target` is the folder of the export, which has the job's id for its name, `files` what is in it once it is done.
    """

    target: Path
    step: int
    format: Format
    files: tuple[Path, ...]


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
            if now is not None and now.state == "done" and child_job.began(folder) >= found.path.stat().st_mtime:
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
            asked = ("--request", str((folder / "request.json").absolute()))
            child_job.begin(folder, "exporter", child_job.command(EXPORTER_VARIABLE, "export", *asked))
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
    return sorted(jobs, key=lambda job: child_job.began(job.folder), reverse=True)


def find(run: RunFolder, job_id: str) -> ExportJob | None:
    """The export of this id of a run; None when there is none."""
    return look(run.exports / JOBS / job_id) if _ID.fullmatch(job_id) else None


def look(folder: Path) -> ExportJob | None:
    """The export of this folder as its files and its process tell; None when there is none, or it was moved away."""
    request, target = read_json(folder / "request.json"), folder.parent.parent / folder.name

    def from_the_files(alive: bool) -> Status | None:
        return {"state": "done"} if not alive and (target / FACTS).is_file() else None

    account = child_job.account(folder, "exporting process", from_the_files)
    if request is None or account is None or request.get("format") not in list(Format):
        return None
    is_done = account["state"] == "done"
    if is_done and not (target / FACTS).is_file():
        return None
    return ExportJob(
        folder=folder,
        target=target,
        step=int(folder.name.split("_")[1]),
        format=Format(request["format"]),
        files=tuple(sorted(path for path in target.rglob("*") if path.is_file())) if is_done else (),
        **account,
    )


def remove(run: RunFolder, job: ExportJob) -> None:
    """Remove an export from the disk; one that is going on is ended first. Raises OSError."""
    with file_lock.held(job.folder.parent / ".lock"):
        child_job.end(job.folder)
        _clear(job.folder, job.target)


def _clear(folder: Path, target: Path) -> None:
    """Remove a job, its export, and what a process that was ended had begun to write (see `Target.unfinished`)."""
    for path in (folder, target, *target.parent.glob(f".{target.name}-*")):
        if path.exists():
            shutil.rmtree(path)
