"""Monitor: headline tiles, curves, the newest sample with its faces, events, log, and requests to the trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs import control
from rewardfl_app.runs.control import Kind
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.samples import step_folder
from rewardfl_app.supervisor import supervisor
from rewardfl_app.ui import charts, curve_store, run_settings
from rewardfl_app.ui.component import component
from rewardfl_app.ui.headline import Measure
from rewardfl_app.ui.run_view import RunView, newest_events

# Receipts older than these are history, shown in the event list only.
NUM_RECEIPTS = 3


def _measure(measure: Measure) -> dict[str, float | None]:
    return {**asdict(measure), "delta": measure.delta, "ratio": measure.ratio}


def top_payload(view: RunView | None, notice: str = "") -> dict[str, Any]:
    """Tiles, verdict, buttons, and how the run ended. `notice` is the answer to what was last asked of the trainer."""
    if view is None:
        return {"run": None}
    now = view.state
    line = view.headline
    saved = view.checkpoints
    ended = now.exit or {}
    pending = [] if now.is_finished else control.pending(view.run)
    return {
        "run": view.run.id,
        "name": view.name,
        "state": now.state,
        "finished": now.is_finished,
        "message": now.message if now.step == 0 or now.state in {"queued", "paused"} else "",
        "waiting": _waits_for(view),
        "step": line.step,
        "level": line.level,
        "sentence": line.sentence,
        "reward": _measure(line.reward),
        "judge": _measure(line.judge),
        "motion": _measure(line.motion),
        "judge_level": line.judge_level,
        "motion_level": line.motion_level,
        "num_samples": len(view.samples.get(line.step or 0, ())),
        "checkpoint": saved[-1].step if saved else None,
        "exit": {key: ended.get(key) for key in ("cause", "sentence", "next_step")} if now.is_finished else None,
        "notice": notice,
        "can_resume": now.state in {"stopped", "failed", "lost"},
        "receipts": [_receipt(receipt) for receipt in view.receipts[-NUM_RECEIPTS:]],
        "num_receipts": view.num_receipts,
        "pending": [request.kind for request in pending],
    }


def _waits_for(view: RunView) -> str | None:
    """Which part of the start a run that has made no step is in: "starting", "loading", "measuring", "training"."""
    now = view.state
    if now.is_finished or now.step > 0 or now.state in {"queued", "stopping"}:
        return None
    return {"starting": "starting", "loading": "loading", "evaluating": "measuring"}.get(now.state, "training")


def _receipt(receipt: Mapping[str, Any]) -> dict[str, Any]:
    return {"time": charts.number(receipt.get("time")), "message": str(receipt.get("message", ""))}


def charts_payload(view: RunView | None) -> dict[str, Any]:
    """That there are new points, not the points: the page asks for those it has not got (see `curve_store`)."""
    if view is None:
        return {"run": None, "version": None, "marks": []}
    marks = [{"step": saved.step, "label": f"checkpoint {saved.step}"} for saved in view.checkpoints]
    return {"run": view.run.id, "version": [view.curves.generation, view.curves.version], "marks": marks}


def curves(runs_dir: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The points of a run that a page has not got, by `request` {run, generation, trained, evaluated}.

    None when there is no such run. Beside what `FollowedRun.news` says: {run, name, finished}.
    """
    run = run_of(runs_dir, request.get("run"))
    if run is None:
        return None
    about = {"run": run.id, "name": str((read_json(run.run_info) or {}).get("name") or run.id)}
    return {**about, "finished": run.exit.exists(), **curve_store.shared().follow(run).news(request)}


def run_of(runs_dir: Path, run_id: object) -> RunFolder | None:
    """The run of this folder with this id, None when there is none."""
    if not isinstance(run_id, str) or Path(run_id).name != run_id or run_id.startswith("."):
        return None
    run = RunFolder(runs_dir / run_id)
    return run if run.exists() else None


def sample_payload(view: RunView | None, runs_dir: Path) -> dict[str, Any]:
    """The newest evaluation's samples, by name, and the folders they and those of the untrained model lie in.

    The page reads what was measured on one from its faces.json, so many samples cost no more than one.
    """
    if view is None or view.newest_step is None:
        return {"run": view.run.id if view else None, "names": []}
    step = view.newest_step
    return {
        "run": view.run.id,
        "step": step,
        "folder": _served_folder(step_folder(view.run, step), runs_dir),
        "before": _served_folder(step_folder(view.run, 0), runs_dir) if step else None,
        "names": list(view.samples[step]),
        "names_before": list(view.samples.get(0, ())) if step else [],
    }


def _served_folder(folder: Path, runs_dir: Path) -> str | None:
    resolved = folder.resolve()
    return str(resolved) if resolved.is_relative_to(runs_dir.resolve()) and resolved.is_dir() else None


def activity_payload(view: RunView | None) -> dict[str, Any]:
    """Events, newest first, and the end of the log."""
    if view is None:
        return {"run": None, "events": [], "log": ""}
    return {
        "run": view.run.id,
        "events": newest_events(view.events),
        "num_events": view.num_events,
        "log": view.log_tail,
        "log_path": str(view.run.log),
    }


def ask(run: RunFolder, kind: Kind) -> str:
    """Leave a request for the trainer of a running run and return a sentence on what will happen."""
    now = supervisor.state(run)
    if now.is_finished:
        return f"The run is {now.state}, so nothing is left to ask of it."
    try:
        if kind == "stop_and_save":
            supervisor.stop(run)
            return "Stop is requested: the trainer finishes its step, saves a checkpoint and ends."
        if kind == "stop_now":
            supervisor.stop(run, now=True)
            return "The trainer is being ended without saving; the last checkpoint stays."
        control.request(run, kind)
    except (RunError, OSError) as error:
        return f"That was not possible: {error}"
    if kind == "save_now":
        return "A checkpoint will be saved after this step."
    return "The evaluation videos will be rendered after this step."


def resume(run: RunFolder) -> str:
    """Continue a stopped, failed or lost run from its last checkpoint; returns a sentence."""
    try:
        supervisor.resume(run)
    except (RunError, ValueError, OSError) as error:
        return f"The run was not resumed: {error}"
    return "The run goes on from its last checkpoint."


@dataclass(frozen=True)
class MonitorParts:
    """Components of the page. `top` triggers save, sample and resume."""

    top: gr.HTML
    curves: gr.HTML
    sample: gr.HTML
    activity: gr.HTML


def build(runs_dir: Path) -> MonitorParts:
    """Lay out the page."""

    def load_curves(request: dict[str, Any]) -> dict[str, Any] | None:
        return curves(runs_dir, request)

    def load_settings(request: dict[str, Any]) -> dict[str, Any] | None:
        run = run_of(runs_dir, request.get("run"))
        return run_settings.payload(run) if run else None

    def set_live(request: dict[str, Any]) -> dict[str, Any] | None:
        run = run_of(runs_dir, request.get("run"))
        return run_settings.set_live(run, str(request.get("field")), request.get("value")) if run else None

    def resume_with(request: dict[str, Any]) -> dict[str, Any] | None:
        run, changes = run_of(runs_dir, request.get("run")), request.get("changes")
        return run_settings.resume(run, changes if isinstance(changes, dict) else {}) if run else None

    top = component("monitor_top", {"run": None, "loading": True}, functions=[load_settings, set_live, resume_with])
    with gr.Row(elem_classes="monitor-grid", equal_height=False):
        with gr.Column(scale=5, min_width=420):
            drawn = component("monitor_charts", charts_payload(None), functions=[load_curves])
        with gr.Column(scale=3, min_width=300):
            sample = component("monitor_sample", {"run": None, "names": []})
            activity = component("monitor_activity", {"run": None, "events": [], "log": ""})
    # Filled by monitor_charts.js, which makes all charts: they share zoom and crosshair.
    gr.HTML(
        value="",
        html_template='<div class="mc-more"></div>',
        js_on_load='RFL.send("monitor-more", {});',
        apply_default_css=False,
        elem_id="monitor-more",
    )
    return MonitorParts(top, drawn, sample, activity)
