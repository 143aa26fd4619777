"""The rows of the Runs page: every run of the folder, read again only where its files changed."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rewardfl_app.runs import alarm, best
from rewardfl_app.runs.alarm import Record
from rewardfl_app.runs.change import number
from rewardfl_app.runs.evaluations import EvaluationReader
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.jsonlines import read_all
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.status import read_status
from rewardfl_app.supervisor import queue
from rewardfl_app.supervisor.supervisor import RunState, state
from rewardfl_app.ui.header import STATE_WORDS

Row = dict[str, Any]
Stamp = tuple[int, int] | None

NOTES_SHOWN = 240  # characters; the whole text comes with the details


@dataclass(frozen=True)
class Look:
    """What a tick needs to know: `version` differs once a row does, `live` are the runs that go on or wait."""

    version: str
    live: list[Row]
    queue: list[str]


class RunTable:
    """The rows of one runs folder, shared by every page of the process."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._followed: dict[str, _Followed] = {}
        self._order: list[str] = []
        self._version = ""
        self._lock = threading.Lock()

    def look(self) -> Look:
        """Read what changed. Runs that have ended cost three looks at their files, and nothing is opened for them."""
        with self._lock:
            runs = list_runs(self._runs_dir)
            order = [run.id for run in runs]
            fresh = order != self._order
            for gone in self._followed.keys() - set(order):
                del self._followed[gone]
            for run in runs:
                followed = self._followed.get(run.id)
                if followed is None:
                    followed = self._followed[run.id] = _Followed(run)
                fresh |= followed.look()
            if fresh or not self._version:
                self._order = order
                rows = [self._followed[run].row for run in order]
                self._version = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
            waiting = [run.id for run in queue.queued(self._runs_dir)]
            return Look(self._version, [f.progress for f in self._followed.values() if f.progress], waiting)

    def rows(self) -> dict[str, Any]:
        """{version, rows}: all rows, newest first."""
        self.look()
        with self._lock:
            return {"version": self._version, "rows": [self._followed[run].row for run in self._order]}


@lru_cache(maxsize=8)
def table(runs_dir: Path) -> RunTable:
    """The one table of a runs folder."""
    return RunTable(runs_dir)


class _Followed:
    """One run: its row, and what of it changes from second to second."""

    def __init__(self, run: RunFolder) -> None:
        self.row: Row = {}
        self.progress: Row | None = None
        self._run = run
        self._paths = tuple(os.fspath(path) for path in (run.exit, run.run_info, run.best, run.process, run.metrics))
        self._stamps: tuple[Stamp, ...] = ()
        self._written: Stamp = None
        self._evaluations = EvaluationReader(run)
        self._measured: Row = {}

    def look(self) -> bool:
        """Whether the row is another one now."""
        account, info, chosen, process, metrics = self._paths
        ended = _stamp(account)
        stamps = (ended, _stamp(info), _stamp(chosen), _stamp(process) if ended is None else None)
        # A lost run stays lost until it is started again, and asking for its process is the dearest of all questions.
        gone = self.row.get("state") == "lost" and stamps[3] is not None and stamps == self._stamps
        settled = ended is not None or gone
        now = None if settled else state(self._run)
        self.progress = _progress(now, self._run) if now is not None and not now.is_finished else None
        written = self._written if settled and stamps == self._stamps else _stamp(metrics)
        same = stamps == self._stamps and (now is None or now.state == self.row["state"])
        if same and written == self._written:
            return False
        if (written != self._written or not self._measured) and (self._evaluations.look() or not self._measured):
            self._measured, same = measured(self._evaluations.records), False
        self._stamps, self._written = stamps, written
        if same:
            return False
        before, self.row = self.row, {**_about(self._run, now or state(self._run)), **self._measured}
        return before != self.row


def _progress(now: RunState, run: RunFolder) -> Row:
    left = None if now.seconds_left is None else round(now.seconds_left)
    return {
        "id": run.id,
        "state": now.state,
        "word": STATE_WORDS.get(now.state, now.state),
        "step": now.step,
        "total": now.total,
        "message": now.message,
        "seconds_left": left,
    }


def _about(run: RunFolder, now: RunState) -> Row:
    info = read_json(run.run_info) or {}
    chosen = best.read(run)
    notes = str(info.get("notes") or "")
    tags = info.get("tags")
    return {
        "id": run.id,
        "name": str(info.get("name") or run.id),
        "notes": notes if len(notes) <= NOTES_SHOWN else notes[:NOTES_SHOWN].rstrip() + "…",
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else [],
        "parent": info.get("parent") if isinstance(info.get("parent"), str) else None,
        "archived": bool(info.get("archived")),
        "created": number(info.get("created")),
        "state": now.state,
        "word": STATE_WORDS.get(now.state, now.state),
        "finished": now.is_finished,
        "step": now.step,
        "total": now.total,
        "message": now.message if now.state in {"failed", "lost"} else "",
        "seconds": seconds_taken(run) if now.is_finished else None,
        "since": number((read_json(run.process) or {}).get("started")) if not now.is_finished else None,
        "best": None if chosen is None else {"step": chosen.step, "why": chosen.why},
    }


def seconds_taken(run: RunFolder) -> float | None:
    """How long an ended run ran, the pauses before a resume left out; None when its events do not tell."""
    attempts: list[tuple[float, float]] = []
    for event in read_all(run.events):
        time = number(event.get("time"))
        if time is None:
            continue
        if event.get("kind") == "started" or not attempts:
            attempts.append((time, time))
        else:
            attempts[-1] = (attempts[-1][0], time)
    last = read_status(run)
    if attempts and last is not None:  # files may have been copied since, so their own times say nothing
        attempts[-1] = (attempts[-1][0], max(attempts[-1][1], last.heartbeat))
    seconds = sum(max(0.0, last - first) for first, last in attempts)
    return round(seconds, 1) if attempts else None


def measured(evaluations: Sequence[Record]) -> Row:
    """What the newest evaluation says: changes from the base model with their intervals, and the alarm."""
    trained = alarm.after_training(evaluations)
    row: Row = {"evaluated": None, "alarm": None, "reward": None, "judge": None, "motion": None}
    if not trained:
        return row
    last = trained[-1]
    row["evaluated"] = last["step"]
    for name in ("reward", "judge", "motion"):
        gain = alarm.gain(last, name)
        if gain is not None:
            numbers = {"gain": gain.value, "low": gain.low, "high": gain.high, "ratio": gain.ratio}
            values = {"value": number(last.get(f"eval/{name}")), **numbers}
            row[name] = {key: None if value is None else round(value, 5) for key, value in values.items()}
    raised = alarm.current(trained)
    if raised is not None:
        row["alarm"] = {"since": raised.since, "sentence": raised.sentence}
    return row


def _stamp(path: str) -> Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
