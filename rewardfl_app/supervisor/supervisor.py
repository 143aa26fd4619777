"""Start, resume, stop and watch runs. The page, the notebooks and the command line all come through here.

Nothing of a run lives in the process that calls these functions: they write to the run folder and start a detached
wrapper, and any later process finds the run again from its folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.config import files
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunError, RunFolder, RunsFolderError, ensure_runs_dir
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.status import FINAL_STATES, Status, read_status
from rewardfl_app.supervisor import exit_report, freeze, preflight, process, provenance
from rewardfl_app.supervisor.command import package_environment, wrapper_command

_END_LEFTOVERS_SECONDS = 5.0


class SupervisorError(RunError):
    """Something asked of a run that cannot be done; the message is one clear sentence."""


class AlreadyRunning(SupervisorError):
    """The run to be resumed is running."""


class NotRunning(SupervisorError):
    """The run to be stopped is not running; the message says how it ended."""


@dataclass(frozen=True)
class RunState:
    """The state of a run as its files say and its process confirms.

    `exit` has the form of exit.json once the run has ended.
    """

    state: str
    step: int
    total: int
    message: str
    seconds_left: float | None
    exit: dict[str, Any] | None

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self.state in FINAL_STATES


def start(
    config: Config,
    runs_dir: Path | str,
    name: str | None = None,
    parent: str | None = None,
    *,
    notes: str = "",
    tags: Sequence[str] = (),
) -> RunFolder:
    """Start training in a new run folder under runs_dir and return at once.

    parent: id of the run this one was forked from. Raises ConfigError with every problem of the settings, the weight
    files and the data, and RunsFolderError, both before a run folder is made.
    """
    runs_path = ensure_runs_dir(Path(runs_dir))
    complete = freeze.with_embedded_scorers(freeze.absolute_paths(config))
    problems = preflight.problems(complete)
    if problems:
        raise ConfigError(problems)
    complete = _with_data(complete, runs_path)
    run = RunFolder.create(runs_path, name)
    try:
        with _lock(run):
            _announce_start(run)
            frozen = freeze.with_embedded_models(complete, run)
            files.dump(frozen, run.config)
            info = {"notes": notes, "tags": list(tags), "parent": parent, **provenance.describe(frozen)}
            write_json_atomic(run.run_info, {"id": run.id, **(read_json(run.run_info) or {}), **info})
            _spawn(run)
    except OSError as error:
        shutil.rmtree(run.path, ignore_errors=True)
        raise _unwritable(runs_path, error) from error
    return run


def resume(run: RunFolder) -> RunFolder:
    """Start the trainer of a stopped, failed or lost run again; it goes on from the last complete checkpoint.

    Raises AlreadyRunning, or SupervisorError when the run is complete, was made on another machine that cannot be
    asked, or has lost its configuration.
    """
    with _lock(run):
        now = state(run)
        if now.state == "completed":
            raise SupervisorError(f"run {run.id} is already completed ({now.step} of {now.total} steps)")
        record = read_json(run.process)
        if record is not None and not now.is_finished:
            if not process.on_this_machine(record):
                raise SupervisorError(
                    f"run {run.id} was started on {record.get('host')}, which cannot be asked from here; resume it "
                    f"there, or delete {run.process} if that machine no longer runs it"
                )
            raise AlreadyRunning(f"run {run.id} is running ({now.state}); stop it first")
        if not run.config.is_file():
            raise SupervisorError(f"run {run.id} has no {run.config.name}, so it cannot be resumed")
        files.load(run.config)
        if record is not None and record.get("role") == "wrapper":
            # The wrapper may have been killed alone; two trainers in one folder would spoil it.
            process.end_session(record, _END_LEFTOVERS_SECONDS)
        _archive_attempt(run)
        _spawn(run)
    return run


def stop(run: RunFolder, now: bool = False) -> str:
    """Ask a run to stop and return the id of the request, to be found again in the receipts.

    It finishes its step, saves a checkpoint and ends; with `now` it ends without saving, by signals if it does not
    answer (the wrapper sees to that, so the caller need not stay). Raises NotRunning.
    """
    current = state(run)
    if current.is_finished:
        raise NotRunning(f"run {run.id} is not running: it is {current.state}")
    request = control.request(run, "stop_now" if now else "stop_and_save")
    record = read_json(run.process)
    if now and record is not None and _is_orphaned(record):
        process.end_session(record, _END_LEFTOVERS_SECONDS)
    return request


def state(run: RunFolder) -> RunState:
    """The state of a run: the trainer's own word, checked against its process (id, start time and boot id)."""
    status = read_status(run)
    step, total = (status.step, status.total) if status else (0, 0)
    ended = read_json(run.exit)
    if ended is not None:
        cause = str(ended.get("cause"))
        word = cause if cause in exit_report.GOOD_CAUSES else "failed"
        return RunState(word, step, total, str(ended.get("sentence") or ""), None, ended)
    record = read_json(run.process)
    if record is None or (process.on_this_machine(record) and not _alive(record)):
        # exit.json may have been written between the two looks.
        if read_json(run.exit) is not None:
            return state(run)
        gone = exit_report.lost(step, total)
        return RunState("lost", step, total, str(gone["sentence"]), None, gone)
    if status is None or status.heartbeat < float(record.get("started") or 0.0):
        return RunState("starting", step, total, "starting the trainer", None, None)
    if status.is_final:
        # exit.json follows when the process has ended; until then the run still holds its memory and its devices.
        return RunState("stopping", step, total, "ending the trainer", None, None)
    note = "" if process.on_this_machine(record) else f" (on {record.get('host')}; not checked from here)"
    return RunState(_word(run, status), step, total, status.message + note, status.seconds_left, None)


def wait(run: RunFolder, poll: float = 0.3) -> dict[str, Any]:
    """Wait until the run has ended and return the content of exit.json (for a lost run, the same form with return_code
    None).
    """
    while True:
        current = state(run)
        if current.exit is not None:
            return current.exit
        time.sleep(poll)


def _alive(record: dict[str, Any]) -> bool:
    """Whether the wrapper runs, or anything of its session (a trainer whose wrapper was killed alone)."""
    return process.is_running(record) or _is_orphaned(record)


def _is_orphaned(record: dict[str, Any]) -> bool:
    """Whether a trainer runs on after its wrapper was killed alone."""
    return record.get("role") == "wrapper" and not process.is_running(record) and bool(process.members(record))


def _word(run: RunFolder, status: Status) -> str:
    """The trainer's state, or stopping from the moment it was asked to."""
    asked = any(request.kind in ("stop_and_save", "stop_now") for request in control.pending(run))
    return "stopping" if asked else status.state


def _announce_start(run: RunFolder) -> float:
    """Name this process in process.json until the wrapper runs; returns the start of this attempt, in Unix time."""
    started = time.time()
    write_json_atomic(run.process, process.describe(os.getpid(), sys.orig_argv, role="starter", started=started))
    return started


def _spawn(run: RunFolder) -> None:
    """Start the detached wrapper and record it."""
    started = _announce_start(run)
    command = wrapper_command(run)
    try:
        pid = process.start_detached(command, run.log, run.path, package_environment())
    except OSError:
        run.process.unlink(missing_ok=True)
        raise
    write_json_atomic(run.process, process.describe(pid, command, role="wrapper", started=started))


def _with_data(config: Config, runs_path: Path) -> Config:
    try:
        return freeze.with_embedded_data(config, runs_path)
    except OSError as error:
        raise _unwritable(runs_path, error) from error
    except DataError as error:  # a clip could not be written
        raise RunsFolderError(str(error)) from error


def _unwritable(runs_path: Path, error: OSError) -> RunsFolderError:
    return RunsFolderError(
        f"The runs folder {runs_path} cannot be written ({error.strerror or error}): free it or choose another."
    )


def _archive_attempt(run: RunFolder) -> None:
    """Put the account of the last attempt aside and dismiss its requests, so that they do not stop the next one."""
    number = 1 + len(list(run.path.glob("exit.*.json")))
    for account in (run.exit, run.failure):
        if account.exists():
            account.rename(account.with_suffix(f".{number}.json"))
    control.dismiss(run, "The run ended before this was done; it is not done after resuming.")


@contextmanager
def _lock(run: RunFolder) -> Iterator[None]:
    """One starter at a time for a run, over all processes of this machine."""
    with open(run.path / ".start.lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
