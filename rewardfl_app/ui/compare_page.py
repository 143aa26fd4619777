"""Compare: any model of any run against any other, in step, with the values of both, a blind vote and films to take
away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs.folder import RunError
from rewardfl_app.supervisor import comparison_jobs
from rewardfl_app.supervisor.comparison_jobs import ComparisonJob
from rewardfl_app.ui import ballot, comparison
from rewardfl_app.ui.component import component
from rewardfl_app.ui.media import served_file
from rewardfl_app.ui.run_view import RunView
from rewardfl_app.ui.theme import asset


def page_payload(view: RunView | None, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Which runs and steps there are; the page asks for the pairs itself.

    `version` grows while a step's samples are still arriving, so that the page asks again.
    """
    runs = [{"id": row["id"], "name": row["name"]} for row in rows]
    if view is None:
        return {"run": None, "steps": [], "version": 0, "runs": runs}
    return {
        "run": view.run.id,
        "name": view.name,
        "steps": list(view.samples),
        "finished": view.state.is_finished,
        "version": view.num_samples,
        "runs": runs,
    }


def job_row(job: ComparisonJob, runs_dir: Path) -> dict[str, Any]:
    """A job as the page shows it, with the addresses and sizes (bytes) of the files that are done."""
    files = [(path, served_file(path, runs_dir)) for path in job.files]
    return {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "message": job.message,
        "finished": job.is_finished,
        "files": [
            {"name": path.name, "path": served, "bytes": path.stat().st_size} for path, served in files if served
        ],
    }


def start_job(runs_dir: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Start what the page asks: {kind: "film", a, b, name} or {kind: "videos", run, step}. Returns {job} or {error}."""
    try:
        if request.get("kind") == "videos":
            run, step = comparison.find_run(runs_dir, request.get("run")), request.get("step")
            if run is None or not isinstance(step, int):
                return {"error": "That run is no longer there."}
            return {"job": job_row(comparison_jobs.start_videos(run, step), runs_dir)}
        a, b = _sides(request)
        before, after = (comparison.find_run(runs_dir, part.get("run")) for part in (a, b))
        first, second, name = a.get("step"), b.get("step"), request.get("name")
        if before is None or after is None or not isinstance(first, int) or not isinstance(second, int):
            return {"error": "One of the two runs is no longer there."}
        job = comparison_jobs.start_film(before, first, after, second, str(name) if name else None)
    except RunError as error:
        return {"error": str(error)}
    return {"job": job_row(job, runs_dir)}


def _sides(request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """{run, step} of both sides, empty where the page did not say."""
    a, b = (side if isinstance(side, dict) else {} for side in (request.get("a"), request.get("b")))
    return a, b


def look_at_job(runs_dir: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """How a job of a run stands; with `cancel` it is ended first. {job: None} when there is none."""
    run = comparison.find_run(runs_dir, request.get("run"))
    job = comparison_jobs.find(run, str(request.get("job"))) if run else None
    if job is None or run is None:
        return {"job": None}
    if request.get("cancel"):
        comparison_jobs.cancel(job)
        job = comparison_jobs.find(run, job.id) or job
    return {"job": job_row(job, runs_dir)}


def build(runs_dir: Path) -> gr.HTML:
    """The page is one component; it asks the server functions for pairs, ballots and films."""

    def load_pairs(request: dict[str, Any]) -> dict[str, Any]:
        return comparison.compare(runs_dir, *_sides(request))

    def vote(request: dict[str, Any]) -> dict[str, Any]:
        return ballot.answer(runs_dir, request)

    def start(request: dict[str, Any]) -> dict[str, Any]:
        return start_job(runs_dir, request)

    def look(request: dict[str, Any]) -> dict[str, Any]:
        return look_at_job(runs_dir, request)

    parts = ("compare_table.js", "compare_vote.js", "compare_films.js", "compare.js")
    return component(
        "compare",
        {"run": None, "steps": [], "version": 0, "runs": [], "loading": True},
        "\n".join(asset(name) for name in parts),
        [load_pairs, vote, start, look],
    )
