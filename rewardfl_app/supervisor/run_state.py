"""The state of a run as its files say and its process confirms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rewardfl_app.runs import control, pulse, queue_file
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.pulse import Rank
from rewardfl_app.runs.status import FINAL_STATES, Status, read_status
from rewardfl_app.supervisor import account, exit_report, process, rank_watch

# The pulse beats every two seconds; a machine that is short of memory may stand still for a while.
_SILENT_SECONDS = 60.0


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


def state(run: RunFolder) -> RunState:
    """The state of a run: the trainer's own word, checked against its process (id, start time and boot id)."""
    status = read_status(run)
    step, total = (status.step, status.total) if status else (0, 0)
    ended = read_json(run.exit)
    if ended is not None:
        return RunState(_ended_word(ended), step, total, str(ended.get("sentence") or ""), None, ended)
    record = read_json(run.process)
    if record is None and status is not None and status.state == "queued":
        return _not_started(run, status)
    if record is None or (process.on_this_machine(record) and not _alive(record)):
        # exit.json may have been written between the two looks.
        if read_json(run.exit) is not None:
            return state(run)
        gone = account.give(run).as_dict()
        return RunState(_ended_word(gone), step, total, str(gone["sentence"]), None, gone)
    ranks = pulse.read(run)
    if rank_watch.is_suspended(ranks):
        message = "The trainer is stopped by a signal (SIGSTOP); Stop, or SIGCONT to its processes, wakes it."
        return RunState("paused", step, total, message, None, None)
    if status is None or status.state in ("queued", "starting"):
        return RunState("starting", step, total, "starting the trainer", None, None)
    if status.is_final:
        # exit.json follows when the process has ended; until then the run still holds its memory and its devices.
        return RunState("stopping", step, total, "ending the trainer", None, None)
    elsewhere = f" (on {record.get('host')}; not checked from here)"
    note = _silence(ranks) if process.on_this_machine(record) else elsewhere
    return RunState(_word(run, status), step, total, status.message + note, status.seconds_left, None)


def is_active(run: RunFolder) -> bool:
    """Whether the run goes on, on this machine, and so has its devices."""
    if run.exit.exists():
        return False
    record = read_json(run.process)
    return record is not None and process.on_this_machine(record) and not state(run).is_finished


def is_orphaned(record: dict[str, Any]) -> bool:
    """Whether a trainer runs on after its wrapper was killed alone, and nothing has taken its place."""
    if record.get("role") != "wrapper" or process.is_running(record):
        return False
    return not process.is_running(process.watcher(record)) and bool(process.members(record))


def _not_started(run: RunFolder, status: Status) -> RunState:
    """Of a run that was put into the queue: its place there, or that it left it."""
    waiting = queue_file.waiting(run.path.parent)
    place = next((index for index, other in enumerate(waiting, 1) if other.id == run.id), None)
    if place is not None:
        first = "Next in the queue" if place == 1 else f"Number {place} of {len(waiting)} in the queue"
        return RunState("queued", 0, status.total, f"{first}: it starts when no other run has its devices.", None, None)
    if run.process.exists() or run.exit.exists():  # it was started between the looks
        return state(run)
    left = exit_report.never_started()
    return RunState("stopped", 0, status.total, str(left["sentence"]), None, left)


def _ended_word(account: dict[str, Any]) -> str:
    """The state of a run that ended in this way."""
    cause = str(account.get("cause"))
    return cause if cause in exit_report.GOOD_CAUSES or cause == exit_report.LOST else "failed"


def _alive(record: dict[str, Any]) -> bool:
    """Whether the wrapper runs, or what took its place, or anything of its session (a trainer whose wrapper was killed
    alone)."""
    return process.is_running(record) or process.is_running(process.watcher(record)) or is_orphaned(record)


def _silence(ranks: list[Rank]) -> str:
    """What is to be said of training processes that have given no sign of life for long."""
    silent = time.time() - min(rank.beat for rank in ranks) / 1e9 if ranks else 0.0
    return f" It has given no sign of life for {silent / 60:.0f} min." if silent > _SILENT_SECONDS else ""


def _word(run: RunFolder, status: Status) -> str:
    """The trainer's state, or stopping from the moment it was asked to."""
    asked = any(request.kind in ("stop_and_save", "stop_now") for request in control.pending(run))
    return "stopping" if asked else status.state
