"""Starting the processes of a run, and clearing away what an earlier attempt left."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rewardfl_app.runs import changes, control, file_lock, pulse, reserve
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.status import Status, read_status, write_status
from rewardfl_app.supervisor import preview, process
from rewardfl_app.supervisor.command import package_environment, wrapper_command
from rewardfl_app.supervisor.run_state import is_orphaned

log = logging.getLogger(__name__)

DELETED = ".deleted-"
_END_LEFTOVERS_SECONDS = 5.0


def announce(run: RunFolder, waited: bool = False) -> dict[str, Any]:
    """Name this process in process.json until the wrapper runs; returns what tells this attempt from those before.

    That is {started (Unix time), log_start (bytes of train.log then), last_request, waited (in the queue)}. The command
    of this process is not written down: a password may stand in it.
    """
    log_start = run.log.stat().st_size if run.log.exists() else 0
    attempt = {"started": time.time(), "log_start": log_start, "last_request": control.newest(run), "waited": waited}
    write_json_atomic(run.process, process.describe(os.getpid(), [], role="starter", **attempt))
    return attempt


def spawn(run: RunFolder, waited: bool = False) -> None:
    """Start the detached wrapper and record it; inside `lock` and with the devices claimed. The Playground's worker
    gives the device back first. `waited`: the run comes from the queue.

    Raises OSError.
    """
    reserve.keep(run)
    attempt = announce(run, waited)
    before = read_status(run)
    step, total = (before.step, before.total) if before else (0, 0)
    write_status(run, Status("starting", step=step, total=total))  # what an earlier attempt said holds no more
    try:
        preview.give_back(run.path.parent)
    except OSError:  # training is what matters: it says for itself when memory is short
        log.exception("the Playground's worker was not ended")
    command = wrapper_command(run, attempt["started"])
    try:
        pid = process.start_detached(command, run.log, run.path, package_environment())
    except OSError:
        run.process.unlink(missing_ok=True)
        raise
    write_json_atomic(run.process, process.describe(pid, command, role="wrapper", **attempt))


def adopt(run: RunFolder) -> None:
    """Start a wrapper that watches a trainer whose own was killed alone; inside `lock`. Raises OSError."""
    record = read_json(run.process)
    if record is None or not is_orphaned(record):
        return
    command = wrapper_command(run, adopt=True)
    pid = process.start_detached(command, run.log, run.path, package_environment())
    write_json_atomic(run.process, {**record, "watcher": process.describe(pid, command)})


def wake(run: RunFolder) -> None:
    """SIGCONT to the training processes on this machine: one that is stopped by a signal answers no request."""
    here = (rank.record for rank in pulse.read(run) if process.on_this_machine(rank.record))
    process.send([record["pid"] for record in here if process.is_running(record)], signal.SIGCONT)


def end_leftovers(run: RunFolder) -> None:
    """End what is left of the session of a wrapper that was killed alone: two trainers in one folder would spoil it."""
    record = read_json(run.process)
    if record is not None and record.get("role") == "wrapper":
        process.end_session(record, _END_LEFTOVERS_SECONDS)
        process.end_session(process.watcher(record), _END_LEFTOVERS_SECONDS)


def put_attempt_aside(run: RunFolder) -> None:
    """Put the account of the last attempt aside and dismiss its requests, so that they do not stop the next one."""
    number = 1 + len(list(run.path.glob("exit.*.json")))
    for account in (run.exit, run.failure):
        if account.exists():
            account.rename(account.with_suffix(f".{number}.json"))
    # A change that was written down holds, even if the trainer did not live to say so.
    written = {change.request: change for change in changes.read(run) if change.request}
    for request in control.pending(run):
        if request.id in written:
            control.acknowledge(run, request.id, written[request.id].sentence)
    control.dismiss(run, "The run ended before this was done; it is not done after resuming.")


def remove_deleted(runs_dir: Path) -> None:
    """Remove the runs that were renamed to be deleted, also those whose deletion was cut off."""
    for folder in runs_dir.glob(f"{DELETED}*"):
        shutil.rmtree(folder, ignore_errors=True)  # another process may be at it


def lock(run: RunFolder, wait: bool = True) -> AbstractContextManager[bool]:
    """One starter at a time for a run, over all processes of this machine; gives whether the lock is held.

    Without `wait` it is not when another process has it. Raises OSError.
    """
    return file_lock.held(run.start_lock, wait)
