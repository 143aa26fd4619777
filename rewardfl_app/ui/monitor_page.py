"""Monitor: headline tiles, curves, the newest sample with its faces, events, log, and requests to the trainer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs import control
from rewardfl_app.runs.checkpoints import list_checkpoints
from rewardfl_app.runs.control import Kind
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.samples import Sample
from rewardfl_app.supervisor import supervisor
from rewardfl_app.ui import charts
from rewardfl_app.ui.headline import Measure, headline
from rewardfl_app.ui.media import served_file
from rewardfl_app.ui.run_view import RunView, newest_events
from rewardfl_app.ui.theme import asset

# Receipts older than these are history, shown in the event list only.
NUM_RECEIPTS = 3


def _measure(measure: Measure) -> dict[str, float | None]:
    return {**asdict(measure), "delta": measure.delta, "ratio": measure.ratio}


def top_payload(view: RunView | None, notice: str = "") -> dict[str, Any]:
    """Tiles, verdict, buttons, and how the run ended. `notice` is the answer to what was last asked of the trainer."""
    if view is None:
        return {"run": None}
    now = view.state
    line = headline(view.columns.evaluations)
    saved = list_checkpoints(view.run)
    ended = now.exit or {}
    return {
        "run": view.run.id,
        "name": view.name,
        "state": now.state,
        "finished": now.is_finished,
        "message": now.message,
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
        "receipts": [str(receipt.get("message", "")) for receipt in view.receipts[-NUM_RECEIPTS:]],
        "pending": [request.kind for request in control.pending(view.run)] if not now.is_finished else [],
    }


def charts_payload(view: RunView | None) -> dict[str, Any]:
    """The curves; `run` tells the page when to forget its zoom."""
    if view is None:
        return {"run": None, "charts": []}
    marks = [(saved.step, f"checkpoint {saved.step}") for saved in list_checkpoints(view.run)]
    return {"run": view.run.id, "charts": charts.build(view.columns, marks)}


def sample_payload(view: RunView | None, runs_dir: Path) -> dict[str, Any]:
    """The newest evaluation's samples with the same ones of the untrained model."""
    if view is None or view.newest_step is None:
        return {"run": view.run.id if view else None, "samples": []}
    before = {sample.name: sample for sample in view.samples.get(0, ())}
    rows = []
    for sample in view.samples[view.newest_step]:
        content = sample.load_faces()
        if video := served_file(sample.video, runs_dir):
            rows.append(
                {
                    "name": sample.name,
                    "prompt": str(content.get("prompt") or ""),
                    "video": video,
                    "faces": served_file(sample.faces, runs_dir),
                    "reward": charts.number(content.get("reward")),
                    "judge": charts.number(content.get("judge")),
                    "before": _reward(before.get(sample.name)),
                }
            )
    return {"run": view.run.id, "step": view.newest_step, "samples": rows}


def _reward(sample: Sample | None) -> float | None:
    return charts.number(sample.load_faces().get("reward")) if sample else None


def activity_payload(view: RunView | None) -> dict[str, Any]:
    """Events, newest first, and the end of the log."""
    if view is None:
        return {"run": None, "events": [], "log": ""}
    return {
        "run": view.run.id,
        "events": newest_events(view.events),
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


def build() -> MonitorParts:
    """Lay out the page."""
    top = _part("monitor_top", {"run": None, "loading": True})
    with gr.Row(elem_classes="monitor-grid", equal_height=False):
        with gr.Column(scale=5, min_width=420):
            curves = _part("monitor_charts", {"run": None, "charts": []})
        with gr.Column(scale=3, min_width=300):
            sample = _part("monitor_sample", {"run": None, "samples": []})
            activity = _part("monitor_activity", {"run": None, "events": [], "log": ""})
    return MonitorParts(top, curves, sample, activity)


def _part(name: str, value: dict[str, Any]) -> gr.HTML:
    return gr.HTML(
        value=value,
        html_template=asset(f"{name}.html"),
        js_on_load=asset(f"{name}.js"),
        apply_default_css=False,
        elem_id=name.replace("_", "-"),
    )
