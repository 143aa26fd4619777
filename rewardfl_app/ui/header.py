"""The header on every page: which run is looked at, its state, step, time left, and Stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

import gradio as gr

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.status import FINAL_STATES
from rewardfl_app.supervisor.supervisor import state
from rewardfl_app.ui.charts import number
from rewardfl_app.ui.component import component
from rewardfl_app.ui.run_view import RunView

NUM_RUNS = 200
STATE_WORDS = {
    "queued": "Queued",
    "starting": "Starting",
    "loading": "Loading",
    "training": "Training",
    "evaluating": "Evaluating",
    "saving": "Saving",
    "stopping": "Stopping",
    "paused": "Paused",
    "completed": "Completed",
    "stopped": "Stopped",
    "failed": "Failed",
    "lost": "Lost",
}


class RunList:
    """The runs for the run menu, one list per open page.

    What run.json and exit.json of a run say is remembered until the files change.
    """

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._ended: dict[str, tuple[int, str]] = {}
        self._about: dict[str, tuple[int, _About]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """[{id, name, started, state, archived}], newest first; `started` is Unix time or None."""
        runs = list_runs(self._runs_dir)[:NUM_RUNS]
        rows = []
        for run in runs:
            about = self._described(run)
            rows.append({"id": run.id, **about, "state": self._state(run)})
        for remembered in (self._ended, self._about):
            for gone in remembered.keys() - {run.id for run in runs}:
                del remembered[gone]
        return rows

    def _described(self, run: RunFolder) -> _About:
        modified = _modified(run.run_info)
        known = self._about.get(run.id)
        if known is None or known[0] != modified:
            info = read_json(run.run_info) or {}
            about = _About(
                name=str(info.get("name") or run.id),
                started=number(info.get("created")),
                archived=bool(info.get("archived")),
            )
            known = self._about[run.id] = (modified, about)
        return known[1]

    def _state(self, run: RunFolder) -> str:
        modified = _modified(run.exit)
        if not modified:
            return state(run).state
        remembered = self._ended.get(run.id)
        if remembered is None or remembered[0] != modified:
            remembered = (modified, state(run).state)
            self._ended[run.id] = remembered
        return remembered[1]


class _About(TypedDict):
    name: str
    started: float | None
    archived: bool


def _modified(path: Path) -> int:
    """Modification time in ns, 0 for a file that is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def choose(rows: list[dict[str, Any]], wanted: str | None) -> str | None:
    """The run to show: the wanted one if it still exists, else one that is going on, one that waits, the newest."""
    ids: list[str] = [row["id"] for row in rows]
    if wanted in ids:
        return wanted
    waiting: list[str] = [row["id"] for row in reversed(rows) if row["state"] == "queued"]
    seen: list[str] = [row["id"] for row in rows if not row["archived"]]
    return next(iter([row["id"] for row in _active(rows)] or waiting or seen or ids), None)


def payload(rows: list[dict[str, Any]], view: RunView | None) -> dict[str, Any]:
    """What the header shows; without a run only the list.

    `active`: the run that goes on, when it is not the one looked at; `queued`: how many wait; `lost_steps`: what
    Stop without saving would lose.
    """
    looked_at = view.run.id if view else None
    listed = [row for row in rows if not row["archived"] or row["id"] == looked_at]
    active = next((row for row in _active(rows)), None)
    shown: dict[str, Any] = {
        "runs": [{**row, "word": STATE_WORDS.get(row["state"], row["state"])} for row in listed],
        "active": active if active and active["id"] != looked_at else None,
        "queued": sum(row["state"] == "queued" for row in rows),
    }
    if view is None:
        return {**shown, "run": None}
    now = view.state
    saved = view.checkpoints[-1].step if view.checkpoints else 0
    seconds = view.columns.get("step_seconds")
    return {
        **shown,
        "run": view.run.id,
        "name": view.name,
        "state": now.state,
        "word": STATE_WORDS.get(now.state, now.state),
        "step": now.step,
        "total": now.total,
        "seconds_left": None if now.seconds_left is None else round(now.seconds_left),
        "message": now.message,
        "can_stop": not now.is_finished and now.state not in {"stopping", "queued"},
        "finished": now.is_finished,
        "saved": saved,
        "lost_steps": max(0, now.step - saved),
        "step_seconds": round(seconds.values[-1], 1) if seconds else None,
        "alarm": view.headline.level == "warn" and not now.is_finished,
    }


def _active(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of runs that go on, newest first."""
    return [row for row in rows if row["state"] not in FINAL_STATES and row["state"] != "queued"]


def build() -> gr.HTML:
    """The header component; events: choose {run}, stop {run, now}."""
    return component(
        "header",
        {"runs": [], "run": None, "loading": True},
    )
