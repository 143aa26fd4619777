"""The header on every page: which run is looked at, its state, step, time left, and Stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.status import FINAL_STATES
from rewardfl_app.supervisor.supervisor import state
from rewardfl_app.ui.charts import number
from rewardfl_app.ui.run_view import RunView
from rewardfl_app.ui.theme import asset

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
    """The runs for the run menu. States of ended runs are remembered until their exit.json changes."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._ended: dict[str, tuple[int, str]] = {}
        self._about: dict[str, tuple[str, float | None]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """[{id, name, started, state}], newest first; `started` is Unix time or None."""
        rows = []
        for run in list_runs(self._runs_dir)[:NUM_RUNS]:
            name, created = self._described(run)
            rows.append({"id": run.id, "name": name, "started": created, "state": self._state(run)})
        return rows

    def _described(self, run: RunFolder) -> tuple[str, float | None]:
        if run.id not in self._about:
            info = read_json(run.run_info) or {}
            self._about[run.id] = (str(info.get("name") or run.id), number(info.get("created")))
        return self._about[run.id]

    def _state(self, run: RunFolder) -> str:
        try:
            modified = run.exit.stat().st_mtime_ns
        except FileNotFoundError:
            return state(run).state
        remembered = self._ended.get(run.id)
        if remembered is None or remembered[0] != modified:
            remembered = (modified, state(run).state)
            self._ended[run.id] = remembered
        return remembered[1]


def choose(rows: list[dict[str, Any]], wanted: str | None) -> str | None:
    """The run to show: the wanted one if it still exists, else one that is going on, else the newest."""
    ids: list[str] = [row["id"] for row in rows]
    if wanted in ids:
        return wanted
    alive: list[str] = [row["id"] for row in rows if row["state"] not in FINAL_STATES]
    return next(iter(alive or ids), None)


def payload(rows: list[dict[str, Any]], view: RunView | None) -> dict[str, Any]:
    """What the header shows; without a run only the list."""
    shown: dict[str, Any] = {"runs": [{**row, "word": STATE_WORDS.get(row["state"], row["state"])} for row in rows]}
    if view is None:
        return {**shown, "run": None}
    now = view.state
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
        "can_stop": not now.is_finished and now.state != "stopping",
        "finished": now.is_finished,
    }


def build() -> gr.HTML:
    """The header component; events: choose {run}, stop {run, now}."""
    return gr.HTML(
        value={"runs": [], "run": None, "loading": True},
        html_template=asset("header.html"),
        js_on_load=asset("header.js"),
        apply_default_css=False,
        elem_id="header",
    )
