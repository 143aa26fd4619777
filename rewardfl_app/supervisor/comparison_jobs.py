"""Films and reports of a comparison, and evaluation videos that are missing: a detached child process each.

RUN/comparisons/ID/ holds request.json, job.json (what is asked), process.json, status.json (the child's own account),
log.txt and the files. The ID follows from what is asked, so that the same comparison is made once; it is made again
when its videos are newer.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rewardfl_app.runs import content, file_lock, typed
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.samples import BASELINE_STEP, list_samples, step_folder
from rewardfl_app.supervisor import child_job, queue
from rewardfl_app.supervisor.child_job import ChildJob, Status
from rewardfl_app.supervisor.command import inference_command

FILES = ("side_by_side.mp4", "report.html")
RENDERER_VARIABLE = "REWARDFL_RENDERER"

Kind = Literal["film", "videos"]


class ComparisonJobError(RunError):
    """A job cannot be started; the message is one sentence."""


@dataclass(frozen=True)
class ComparisonJob(ChildJob):
    """One job as it stands; `done` of `total` pairs or videos. `files` are those that are there once it is done."""

    kind: Kind
    files: tuple[Path, ...]


def start_film(
    before: RunFolder, before_step: int, after: RunFolder, after_step: int, name: str | None = None
) -> ComparisonJob:
    """Write the film and report of all pairs, or with `name` the film of one, into the folder of the run `after`.

    A job that does so already is returned, and one that is done and not older than its videos. Raises
    ComparisonJobError.
    """
    sides = {"before": {"run": before.path, "step": before_step}, "after": {"run": after.path, "step": after_step}}
    folder = _folder(after, {"kind": "film", **sides, "name": name})
    newest = max((_modified(step_folder(*side)) for side in ((before, before_step), (after, after_step))), default=0.0)

    def command() -> list[str]:
        request = {**sides, "out": folder, **({"name": name} if name else {})}
        write_json_atomic(folder / "request.json", request)
        return inference_command("compare", "--request", str(folder / "request.json"))

    return _start(folder, "film", {"name": name}, newest, command)


def start_videos(run: RunFolder, step: int) -> ComparisonJob:
    """Render the evaluation videos of a checkpoint (0: of the base model), which the run has not made.

    A job that does so already is returned. Raises ComparisonJobError, also while a run is being trained: the two would
    share the device.
    """
    folder = _folder(run, {"kind": "videos", "step": step})
    now = look(folder)
    busy = queue.active(run.path.parent) if now is None or now.is_finished else []
    if busy:
        raise ComparisonJobError(
            f"Training goes on in {busy[0].id} and needs the device: stop it, or render these videos when it is done."
        )
    checkpoint = "base" if step == BASELINE_STEP else str(step)
    arguments = ("--run", str(run.path), "--checkpoint", checkpoint)
    about = {"run": run.path, "step": step}
    return _start(
        folder, "videos", about, float("inf"), lambda: child_job.command(RENDERER_VARIABLE, "evaluate", *arguments)
    )


def find(run: RunFolder, job_id: str) -> ComparisonJob | None:
    """The job of this id of a run; None when there is none."""
    if not job_id.isalnum():
        return None
    return look(run.comparisons / job_id)


def look(folder: Path) -> ComparisonJob | None:
    """The job in this folder as its files and its process tell; None when the folder is no job."""
    about = read_json(folder / "job.json")
    if about is None:
        return None
    if about.get("kind") == "videos":
        kind: Kind = "videos"
        account = child_job.account(folder, "rendering process", lambda alive: _videos_status(about, alive))
    else:
        kind, account = "film", child_job.account(folder, "process that writes the film")
    if account is None:
        return None
    files = tuple(folder / name for name in FILES if (folder / name).is_file()) if account["state"] == "done" else ()
    return ComparisonJob(folder=folder, kind=kind, files=files, **account)


def cancel(job: ComparisonJob) -> None:
    """End the job's processes. A job that is finished is left as it is."""
    child_job.cancel(job)


def _videos_status(about: dict[str, Any], alive: bool) -> Status:
    """How far rendering is, from the videos that are complete: values.json comes after the last of them."""
    run, step = RunFolder(Path(str(about.get("run")))), typed.whole(about.get("step"))
    found = {} if step is None else list_samples(run)
    rendered = 0 if step is None else len(found.get(step, ()))
    others = [len(samples) for other, samples in found.items() if other != step]
    if not alive and step is not None and (step_folder(run, step) / "values.json").is_file():
        return {"state": "done", "done": rendered, "total": rendered, "message": ""}
    working = {"state": "working", "done": rendered, "total": max([rendered, *others]) or None}
    return {**working, "message": "Rendering" if rendered else "Loading the model"}


def _start(
    folder: Path, kind: Kind, about: dict[str, Any], newest: float, command: Callable[[], list[str]]
) -> ComparisonJob:
    try:
        folder.parent.mkdir(exist_ok=True)
        with file_lock.held(folder.parent / ".lock"):
            now = look(folder)
            if now is not None and not now.is_finished:
                return now
            if now is not None and now.state == "done" and child_job.began(folder) >= newest:
                return now
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            write_json_atomic(folder / "job.json", {"kind": kind, "created": time.time(), **about})
            child_job.begin(folder, "comparison", command())
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"The comparison cannot be written into {folder.parent} ({reason}): free space there."
        raise ComparisonJobError(message) from error
    job = look(folder)
    assert job is not None
    return job


def _folder(run: RunFolder, asked: dict[str, Any]) -> Path:
    return run.comparisons / content.digest({key: str(value) for key, value in asked.items()})[:16]


def _modified(path: Path) -> float:
    """Unix time of the last change of a file, or in a folder of anything directly in it; 0 when it is not there."""
    try:
        children = path.iterdir() if path.is_dir() else ()
        return max(found.stat().st_mtime for found in (path, *children))
    except OSError:
        return 0.0
