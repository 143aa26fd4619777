"""A piece of work in a detached child process, and all that is known of it in a folder of its own.

The folder holds request.json (what the child is asked), process.json, status.json (the child's own account) and
log.txt. It is a job exactly when it has process.json. Any process may look at it, and end it.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from rewardfl_app.runs import typed
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import process
from rewardfl_app.supervisor.child_log import last_words
from rewardfl_app.supervisor.command import PACKAGE_ROOT, inference_command, package_environment

GRACE_SECONDS = 5.0
_FINISHED = frozenset({"done", "failed", "cancelled"})

Status = dict[str, Any]


class Account(TypedDict):
    """How far a job is, as fields of ChildJob."""

    state: str
    done: int
    total: int | None
    message: str


@dataclass(frozen=True)
class ChildJob:
    """One job as it stands. `state` is starting, working, done, failed or cancelled; `done` of `total` pieces, None
    while their number is not known."""

    folder: Path
    state: str
    done: int
    total: int | None
    message: str

    @property
    def id(self) -> str:
        """The job's id: the name of its folder."""
        return self.folder.name

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in _FINISHED


def command(stand_in: str, kind: str, *arguments: str) -> list[str]:
    """The child of the inference process; the environment variable `stand_in` holds another one to run instead, as
    REWARDFL_TRAINER does for training."""
    other = os.environ.get(stand_in)
    return [*shlex.split(other), *arguments] if other else inference_command(kind, *arguments)


def begin(folder: Path, role: str, arguments: Sequence[str]) -> None:
    """Start the child of a folder that holds its request. Raises OSError."""
    write_json_atomic(folder / "status.json", _status("starting"))
    pid = process.start_detached(arguments, folder / "log.txt", PACKAGE_ROOT, package_environment())
    record = process.describe(pid, arguments, role=role, started=time.time())
    write_json_atomic(folder / "process.json", record)


def account(folder: Path, name: str, own: Callable[[bool], Status | None] = lambda alive: None) -> Account | None:
    """How far the job of a folder is, as its files and its process tell; None when it is no job.

    `name` is what the process is called where it ended without a word. `own` tells of a child that keeps no account
    from what it leaves, given whether it lives; None where it has nothing to add.
    """
    record = read_json(folder / "process.json")
    if record is None:
        return None
    status = read_json(folder / "status.json") or {}
    if str(status.get("state")) not in _FINISHED:
        alive = not process.on_this_machine(record) or process.is_running(record)
        if not alive:
            status = read_json(folder / "status.json") or {}  # it may have finished since
        if str(status.get("state")) not in _FINISHED:
            status = own(alive) or status
        if str(status.get("state")) not in _FINISHED and not alive:
            status = {**status, "state": "failed", "message": last_words(folder / "log.txt", name)}
    state = str(status.get("state") or "starting")
    return {
        "state": state if state in _FINISHED or state == "starting" else "working",
        "done": typed.whole(status.get("done")) or 0,
        "total": typed.whole(status.get("total")),
        "message": str(status.get("message") or ""),
    }


def end(folder: Path) -> None:
    """End the child's processes, if there are any."""
    record = read_json(folder / "process.json")
    if record is not None:
        process.end_session(record, GRACE_SECONDS)


def cancel(job: ChildJob) -> None:
    """End the job; what was written so far stays. One that is finished is left as it is."""
    if job.is_finished:
        return
    end(job.folder)
    if (read_json(job.folder / "status.json") or {}).get("state") != "done":
        write_json_atomic(job.folder / "status.json", _status("cancelled", job.done, job.total, "Cancelled."))


def began(folder: Path) -> float:
    """Unix time at which the child of a folder was started; 0 when it is no job."""
    try:
        return (folder / "process.json").stat().st_mtime
    except OSError:
        return 0.0


def _status(state: str, done: int = 0, total: int | None = None, message: str = "") -> Status:
    return {"state": state, "done": done, "total": total, "message": message}
