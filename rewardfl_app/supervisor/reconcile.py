"""Putting right what a crash has left in a runs folder: every run's account, its watch, and the queue.

Whoever comes first does it, at the start of the app and every few seconds while it runs. Nothing is guessed: a run has
ended when its processes are gone, and how is read from its folder.
"""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path

from rewardfl_app.runs import identity, queue_file, unfinished
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import account, launch, preview, process, queue
from rewardfl_app.supervisor.run_state import is_orphaned

log = logging.getLogger(__name__)

KEEP_SECONDS = 5.0


Settled = set[tuple[str, int]]


def reconcile(runs_dir: Path, settled: Settled | None = None) -> None:
    """Put right all runs of a folder and start what waits. Trouble with one run is logged and keeps no other back.

    `settled`: the ended runs that were found to have left nothing, which a later call with it passes over.
    """
    settled = set() if settled is None else settled
    for run in list_runs(runs_dir):
        try:
            ended = _ended(run)
            if ended is None:
                _put_right(run)
            elif ended not in settled and not _wake_watch(run):
                settled.add(ended)
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
    settled: Settled = set()
    while True:
        reconcile(runs_dir, settled)
        if ended.wait(KEEP_SECONDS):
            return


def _ended(run: RunFolder) -> tuple[str, int] | None:
    """What tells this end of a run from another; None while it has not ended."""
    try:
        return run.id, run.exit.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _wake_watch(run: RunFolder) -> bool:
    """SIGCONT to what watches over the run where it is stopped, which nobody means to do; whether there is a watch."""
    record = read_json(run.process) or {}
    named = [record if record.get("role") == "wrapper" else {}, process.watcher(record)]
    watches = [watch for watch in named if process.is_running(watch)]
    process.send([watch["pid"] for watch in watches if identity.is_suspended(watch)], signal.SIGCONT)
    return bool(watches)


def _put_right(run: RunFolder) -> None:
    """One run that has not ended: what stopped its watch is undone, a lost watch is replaced, and an end that nobody
    saw is written down. Raises OSError."""
    if _wake_watch(run) or not _needs_care(run):
        return
    # One who starts it now puts it right himself.
    with queue_file.lock(run.path.parent, wait=False) as free, launch.lock(run, wait=False) as held:
        record = read_json(run.process)
        if not (free and held) or record is None or run.exit.exists() or not _needs_care(run):
            return
        if is_orphaned(record):
            launch.adopt(run)
            log_event(run, "adopted", "What watches over the run was killed; it is watched again.")
        elif not queue.put_back(run):
            report = account.give(run)
            unfinished.remove(run)  # first: who finds exit.json finds the folder as it stays
            write_json_atomic(run.exit, report.as_dict())
            log_event(run, "ended", report.sentence)


def _needs_care(run: RunFolder) -> bool:
    """Whether nobody watches over a run that was started on this machine."""
    record = read_json(run.process)
    if record is None or not process.on_this_machine(record):
        return False
    return not (process.is_running(record) or process.is_running(process.watcher(record)))
