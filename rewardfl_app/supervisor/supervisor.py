"""Start, resume, stop, change and watch runs. The page, the notebooks and the command line all come through here.

Nothing of a run lives in the process that calls these functions: they write to the run folder and start a detached
wrapper, and any later process finds the run again from its folder.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rewardfl_app.config import changes as config_changes
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import changes as run_changes
from rewardfl_app.runs import checkpoints, control, queue_file
from rewardfl_app.runs import settings as run_settings
from rewardfl_app.runs.changes import Change
from rewardfl_app.runs.folder import RunError, RunFolder, ensure_runs_dir
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.status import Status, write_status
from rewardfl_app.supervisor import creation, device_lock, freeze, launch, placement, preflight, process, start_token
from rewardfl_app.supervisor.device_lock import DevicesBusy
from rewardfl_app.supervisor.run_state import RunState, is_orphaned, state

__all__ = [
    "AlreadyRunning",
    "DevicesBusy",
    "NotRunning",
    "RunState",
    "SupervisorError",
    "delete",
    "enqueue",
    "resume",
    "save_now",
    "set_live",
    "settings",
    "start",
    "state",
    "stop",
    "wait",
]


class SupervisorError(RunError):
    """Something asked of a run that cannot be done; the message is one clear sentence."""


class AlreadyRunning(SupervisorError):
    """The run to be resumed or deleted is running."""


class NotRunning(SupervisorError):
    """The run to be stopped or changed is not running; the message says how it ended."""


def start(
    config: Config,
    runs_dir: Path | str,
    name: str | None = None,
    parent: str | None = None,
    *,
    notes: str = "",
    tags: Sequence[str] = (),
    token: str | None = None,
) -> RunFolder:
    """Start training in a new run folder under runs_dir and return at once.

    parent: id of the run this one was forked from. token: a second call with the same one, from whatever process, gives
    the run of the first. Raises ConfigError with every problem of the settings, the weight files and the data,
    RunsFolderError, and DevicesBusy where another run trains on its devices; no run folder is left then.
    """
    runs_path = ensure_runs_dir(Path(runs_dir))
    with start_token.held(runs_path, token) as once:
        if once.run is not None:
            return once.run
        complete = creation.complete(config, runs_path)
        with queue_file.lock(runs_path), creation.new_run(runs_path, name) as run, launch.lock(run):
            launch.announce(run)
            creation.fill(run, complete, parent, notes, tags)
            with _devices(run, complete):
                launch.spawn(run)
        once.keep(run)
    return run


def enqueue(
    config: Config,
    runs_dir: Path | str,
    name: str | None = None,
    parent: str | None = None,
    token: str | None = None,
    *,
    notes: str = "",
    tags: Sequence[str] = (),
) -> RunFolder:
    """Make a run that starts when its turn comes (see `queue`), its settings frozen now. Raises what `start` does."""
    runs_path = ensure_runs_dir(Path(runs_dir))
    with start_token.held(runs_path, token) as once:
        if once.run is not None:
            return once.run
        complete = creation.complete(config, runs_path)
        with queue_file.lock(runs_path), creation.new_run(runs_path, name) as run:
            creation.fill(run, complete, parent, notes, tags)
            write_status(run, Status("queued", total=complete.train.max_steps))
            queue_file.write(runs_path, [*queue_file.waiting(runs_path), run])
        once.keep(run)
    return run


def settings(run: RunFolder) -> Config:
    """The settings of a run as they are now: config.yaml and everything that was changed since.

    The files they name need not exist on this machine. Raises ConfigError.
    """
    return run_settings.load(run, check_files=False)


def resume(run: RunFolder, changes: Mapping[str, object] | None = None) -> RunFolder:
    """Start the trainer of a stopped, failed or lost run again; it goes on from the last complete checkpoint.

    changes: {section.field: value} of fields that apply at resume or live; a completed run goes on when its
    train.max_steps is raised. A queued run starts now. Raises AlreadyRunning; ConfigError with every problem of the
    changes; DevicesBusy; SupervisorError when the run is complete, was made on another machine that cannot be asked, or
    has lost its configuration. Nothing is changed then.
    """
    with queue_file.lock(run.path.parent), launch.lock(run):
        now = state(run)
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
        made = _updates_kept(run)
        after, written = _checked_changes(run, changes or {}, made)
        if now.state == "completed" and not any(change.field == "train.max_steps" for change in written):
            raise SupervisorError(f"run {run.id} is already completed ({now.step} of {now.total} steps)")
        with _devices(run, after):
            launch.end_leftovers(run)
            launch.put_attempt_aside(run)
            for change in written:
                run_changes.record(run, change)
            launch.spawn(run)
        _leave_queue(run)
    return run


def stop(run: RunFolder, now: bool = False) -> str:
    """Ask a run to stop and return the id of the request, to be found again in the receipts.

    It finishes its step, saves a checkpoint and ends; with `now` it ends without saving, by signals if it does not
    answer (the wrapper sees to that, so the caller need not stay). Raises NotRunning.
    """
    _require_running(run)
    request = control.request(run, "stop_now" if now else "stop_and_save")
    launch.wake(run)
    record = read_json(run.process)
    if record is not None and is_orphaned(record):
        with launch.lock(run):
            launch.adopt(run)
    return request


def save_now(run: RunFolder) -> str:
    """Ask a run to save a checkpoint after its present step; returns the id of the request. Raises NotRunning."""
    _require_running(run)
    return control.request(run, "save_now")


def set_live(run: RunFolder, field: str, value: object) -> str:
    """Ask a running run to go on with another value of a live field; returns the id of the request.

    The receipt says from which step on it holds. Raises ConfigError for a field that is not live or a value that is
    refused, and NotRunning.
    """
    current = _require_running(run)
    new = config_changes.changed(settings(run), {field: value}, "live")
    if field == "train.max_steps":
        _refuse_steps_made(new, current.step)
    return control.request(run, "set_field", field=field, value=config_changes.value(new, field))


def delete(run: RunFolder) -> None:
    """Remove the folder of a run that has ended or waits in the queue, with everything in it.

    It is renamed first, so that no reader meets half a run. Raises AlreadyRunning, and SupervisorError where it cannot
    be removed.
    """
    if run.path.is_symlink():
        raise SupervisorError(f"{run.path} is a link: remove the link itself, or delete the run where it lies")
    parent = run.path.parent
    try:
        with queue_file.lock(parent), launch.lock(run):
            now = state(run)
            if not now.is_finished and now.state != "queued":
                raise AlreadyRunning(f"run {run.id} is running ({now.state}); stop it before it is deleted")
            launch.end_leftovers(run)
            hidden = parent / f"{launch.DELETED}{run.id}-{secrets.token_hex(3)}"
            os.rename(run.path, hidden)
            _leave_queue(run)
        launch.remove_deleted(parent)
        if hidden.exists():
            raise SupervisorError(f"run {run.id} cannot be deleted: not everything in {hidden} can be removed")
    except OSError as error:
        raise SupervisorError(f"run {run.id} cannot be deleted ({error.strerror or error})") from error


def wait(run: RunFolder, poll: float = 0.3) -> dict[str, Any]:
    """Wait until the run has ended and return the content of exit.json (for a lost run, the same form with return_code
    None).
    """
    while True:
        current = state(run)
        if current.exit is not None:
            return current.exit
        time.sleep(poll)


def _require_running(run: RunFolder) -> RunState:
    current = state(run)
    if current.state == "queued":
        raise NotRunning(f"run {run.id} has not started: it waits in the queue")
    if current.is_finished:
        raise NotRunning(f"run {run.id} is not running: it is {current.state}")
    return current


def _updates_kept(run: RunFolder) -> int:
    """The updates that a start now goes on after."""
    latest = checkpoints.latest(run)
    return 0 if latest is None else latest.step


def _devices(run: RunFolder, config: Config) -> AbstractContextManager[None]:
    """The devices that a run with these settings trains on, for the start inside. Raises DevicesBusy, OSError."""
    place = placement.from_settings(config.deepspeed.model_dump(mode="json"))
    return device_lock.claim(run, place.devices, place.shares)


def _checked_changes(run: RunFolder, changes: Mapping[str, object], made: int) -> tuple[Config, list[Change]]:
    """The settings of a resume after `made` updates, and what it is to write down. Raises ConfigError."""
    before = run_settings.load(run, check_files=not changes)
    if not changes:
        return before, []
    after = freeze.absolute_paths(config_changes.changed(before, changes, "resume", check_files=True))
    _refuse_steps_made(after, made)
    if after.deepspeed.hostfile and (problems := preflight.host_problems(after.deepspeed)):
        raise ConfigError(problems)
    pairs = [(field, config_changes.value(before, field), config_changes.value(after, field)) for field in changes]
    return after, [Change(made + 1, field, old, new) for field, old, new in pairs if old != new]


def _refuse_steps_made(config: Config, made: int) -> None:
    total = config.train.max_steps
    if total < made:
        message = f"max_steps is {total}, but {made} updates are already made: give at least {made}."
        raise ConfigError([Problem("train.max_steps", message)])


def _leave_queue(run: RunFolder) -> None:
    """Take a run out of the order; inside the queue's lock."""
    runs_dir = run.path.parent
    waiting = queue_file.waiting(runs_dir)
    queue_file.write(runs_dir, [other for other in waiting if other.id != run.id])
