"""Runs: every run of the folder in one table, their differences and curves over each other, and what can be done with
them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.ui import run_actions, run_curves, run_details, run_exports
from rewardfl_app.ui.component import component
from rewardfl_app.ui.difference import difference
from rewardfl_app.ui.run_table import table
from rewardfl_app.ui.theme import asset

SCRIPTS = ("runs_model.js", "runs_rows.js", "runs_export.js", "runs_details.js", "runs_together.js", "runs.js")
GONE = {"ok": False, "said": "This run is no longer there."}


def page_payload(runs_dir: Path) -> dict[str, Any]:
    """What every tick sends: the page asks for the rows itself when `version` is another one."""
    now = table(runs_dir).look()
    return {"version": now.version, "live": now.live, "queue": now.queue}


def _named(runs_dir: Path, ids: object) -> list[RunFolder]:
    """The runs of the folder with these ids, in their order; a name that is no run is left out."""
    known = {run.id: run for run in list_runs(runs_dir)}
    return [known[run] for run in ids if isinstance(run, str) and run in known] if isinstance(ids, list) else []


def build(runs_dir: Path) -> gr.HTML:
    """The page is one component; it asks the server functions for rows, details, curves, and to do things."""

    def one(request: dict[str, Any]) -> RunFolder | None:
        return next(iter(_named(runs_dir, [request.get("run")])), None)

    def load_rows(request: dict[str, Any]) -> dict[str, Any]:
        return table(runs_dir).rows()

    def load_details(request: dict[str, Any]) -> dict[str, Any] | None:
        run = one(request)
        return run_details.details(run, runs_dir) if run else None

    def load_difference(request: dict[str, Any]) -> dict[str, Any]:
        return difference(_named(runs_dir, request.get("runs")))

    def load_curves(request: dict[str, Any]) -> dict[str, Any]:
        keys = request.get("keys")
        chosen = [str(key) for key in keys] if isinstance(keys, list) else None
        return run_curves.curves(_named(runs_dir, request.get("runs")), chosen)

    def weigh(request: dict[str, Any]) -> dict[str, Any]:
        return run_actions.weigh(_named(runs_dir, request.get("runs")))

    def act(request: dict[str, Any]) -> dict[str, Any]:
        run = one(request)
        return run_actions.act(run, str(request.get("do"))) if run else GONE

    def describe(request: dict[str, Any]) -> dict[str, Any]:
        run = one(request)
        return run_actions.describe(run, request) if run else GONE

    def make_passport(request: dict[str, Any]) -> dict[str, Any]:
        run, step = one(request), request.get("step")
        return run_actions.make_passport(run, step if isinstance(step, int) else None, runs_dir) if run else GONE

    def load_exports(request: dict[str, Any]) -> dict[str, Any]:
        run = one(request)
        return {"exports": run_exports.rows(run, runs_dir) if run else []}

    def start_export(request: dict[str, Any]) -> dict[str, Any]:
        run = one(request)
        return run_exports.start(run, request) if run else GONE

    def remove_export(request: dict[str, Any]) -> dict[str, Any]:
        run = one(request)
        return run_exports.remove(run, str(request.get("export"))) if run else GONE

    return component(
        "runs",
        {"version": "", "live": [], "queue": [], "loading": True},
        "\n".join(asset(name) for name in SCRIPTS),
        [load_rows, load_details, load_difference, load_curves, weigh, act, describe, make_passport]
        + [load_exports, start_export, remove_export],
    )
