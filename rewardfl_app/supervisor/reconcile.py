"""Putting right what a crash has left in a runs folder: every run's account, its watch, and the queue.

Whoever comes first does it, at the start of the app and every few seconds while it runs. Nothing is guessed: a run has
ended when its processes are gone, and how is read from its folder.
"""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path

from rewardfl_app.runs import identity, unfinished
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import account, launch, preview, process, queue
from rewardfl_app.supervisor.run_state import is_orphaned

log = logging.getLogger(__name__)

KEEP_SECONDS = 5.0


def reconcile(runs_dir: Path) -> None:
    """Put right all runs of a folder and start what waits. Trouble with one run is logged and keeps no other back."""
    for run in list_runs(runs_dir):
        try:
            _put_right(run)
        except (OSError, ValueError):
            log.exception("run %s could not be put right", run.id)
    try:
        launch.remove_deleted(runs_dir)
        queue.advance(runs_dir)
        preview.advance(runs_dir)
    except OSError:
        log.exception("the runs folder %s could not be put right", runs_dir)


def keep(runs_dir: Path, ended: threading.Event) -> None:
    """`reconcile` now and every KEEP_SECONDS until `ended` is set."""
    while True:
        reconcile(runs_dir)
        if ended.wait(KEEP_SECONDS):
            return


def _put_right(run: RunFolder) -> None:
    """One run: what stopped its watch is undone, a lost watch is replaced, and an end that nobody saw is written
    down. Raises OSError."""
    if run.exit.exists() or not _needs_care(run):
        return
    with launch.lock(run, wait=False) as held:  # one who starts it now puts it right himself
        record = read_json(run.process)
        if not held or record is None or run.exit.exists() or not _needs_care(run):
            return
        if process.is_running(record):
            process.send([int(record["pid"])], signal.SIGCONT)
        elif is_orphaned(record):
            launch.adopt(run)
            log_event(run, "adopted", "What watches over the run was killed; it is watched again.")
        else:
            report = account.give(run)
            write_json_atomic(run.exit, report.as_dict())
            log_event(run, "ended", report.sentence)
            unfinished.remove(run)


def _needs_care(run: RunFolder) -> bool:
    """Whether nobody watches over a run that was started on this machine."""
    record = read_json(run.process)
    if record is None or not process.on_this_machine(record):
        return False
    if process.is_running(record):
        # Nobody means to stop the watch alone, which would leave the run without an end.
        return record.get("role") == "wrapper" and identity.is_suspended(record)
    watcher = record.get("watcher")
    return not (watcher and process.is_running(watcher))
