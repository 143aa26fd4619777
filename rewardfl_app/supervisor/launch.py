"""Starting the processes of a run, and clearing away what an earlier attempt left."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rewardfl_app.runs import changes, control
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import preview, process
from rewardfl_app.supervisor.command import package_environment, wrapper_command

log = logging.getLogger(__name__)

_END_LEFTOVERS_SECONDS = 5.0


def announce(run: RunFolder) -> float:
    """Name this process in process.json until the wrapper runs; returns the start of this attempt, in Unix time."""
    started = time.time()
    write_json_atomic(run.process, process.describe(os.getpid(), sys.orig_argv, role="starter", started=started))
    return started


def spawn(run: RunFolder) -> None:
    """Start the detached wrapper and record it; inside `lock`. The Playground's worker gives the device back first.

    Raises OSError.
    """
    started = announce(run)
    try:
        preview.give_back(run.path.parent)
    except OSError:  # training is what matters: it says for itself when memory is short
        log.exception("the Playground's worker was not ended")
    command = wrapper_command(run)
    try:
        pid = process.start_detached(command, run.log, run.path, package_environment())
    except OSError:
        run.process.unlink(missing_ok=True)
        raise
    write_json_atomic(run.process, process.describe(pid, command, role="wrapper", started=started))


def end_leftovers(run: RunFolder) -> None:
    """End what is left of the session of a wrapper that was killed alone: two trainers in one folder would spoil it."""
    record = read_json(run.process)
    if record is not None and record.get("role") == "wrapper":
        process.end_session(record, _END_LEFTOVERS_SECONDS)


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


@contextmanager
def lock(run: RunFolder) -> Iterator[None]:
    """One starter at a time for a run, over all processes of this machine. Raises OSError."""
    with open(run.path / ".start.lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
