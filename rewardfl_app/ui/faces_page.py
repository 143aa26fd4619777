"""Faces: what is in each frame of a sample, a real clip or a video of one's own, and what the reward looks at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.samples import Sample, list_references, list_steps, samples_of
from rewardfl_app.supervisor import face_jobs
from rewardfl_app.supervisor.face_jobs import FaceJob
from rewardfl_app.ui import face_scoring
from rewardfl_app.ui.charts import number
from rewardfl_app.ui.component import component
from rewardfl_app.ui.face_summary import summary
from rewardfl_app.ui.media import PICTURE_SUFFIXES, served_file, thumbnail
from rewardfl_app.ui.run_view import RunView
from rewardfl_app.ui.theme import asset
from rewardfl_app.ui.uploads import LARGEST_MB, VIDEO_SUFFIXES

MEASURES = ("reward", "judge", "motion", "sharpness", "face_rate")
# How the page names the real clips among the steps.
REAL = "real"

Step = int | str | None


def page_payload(view: RunView | None, jobs: Sequence[FaceJob]) -> dict[str, Any]:
    """Which steps can be looked at, and how the jobs stand; the page asks for the clips of a step itself."""
    shown: dict[str, Any] = {"jobs": [_job_row(job) for job in jobs]}
    if view is None:
        return {**shown, "run": None, "steps": [], "version": 0}
    return {
        **shown,
        "run": view.run.id,
        "name": view.name,
        "steps": list(view.samples),
        "has_real": bool(view.references),
        "finished": view.state.is_finished,
        "version": view.num_samples + len(view.references),
    }


def _job_row(job: FaceJob) -> dict[str, Any]:
    keys = ("pack", "det_size", "reference", "job", "run", "step")
    return {
        "id": job.id,
        "kind": job.kind,
        "title": job.title,
        "created": job.created,
        "target": str(job.target),
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "message": job.message,
        **{key: job.about.get(key) for key in keys},
    }


def clips(runs_dir: Path, run_id: str, step: Step) -> dict[str, Any]:
    """The clips of one step: files, prompts, scores and a sentence on each.

    Args:
        step: 0 is the untrained model, REAL the real clips, None the newest.
    """
    run = next((found for found in list_runs(runs_dir) if found.id == run_id), None)
    nothing: dict[str, Any] = {"run": run_id, "step": None, "clips": []}
    if run is None:
        return nothing
    references, steps = list_references(run), list_steps(run)
    if step == REAL:
        return {"run": run_id, "step": REAL, "clips": [_clip(s, s, runs_dir) for s in references.values()]}
    if not steps:
        return nothing
    chosen = step if isinstance(step, int) and step in steps else steps[-1]
    rows = [_clip(sample, references.get(sample.name), runs_dir) for sample in samples_of(run, chosen)]
    return {"run": run_id, "step": chosen, "clips": rows}


def job_clip(runs_dir: Path, job_id: str) -> dict[str, Any] | None:
    """The clip of a job that is done, None when it is not or its files are gone."""
    job = face_jobs.find(runs_dir, job_id)
    if job is None or job.kind != "score" or job.state != "done" or not (job.folder / "faces.json").is_file():
        return None
    real = Sample(None, job.id, job.folder / "reference")
    clip = _clip(Sample(None, job.id, job.folder), real if real.faces.is_file() else None, runs_dir)
    return {**clip, "title": job.title, "job": _job_row(job)}


def _clip(sample: Sample, reference: Sample | None, runs_dir: Path) -> dict[str, Any]:
    about = _about(str(sample.faces), _modified(sample.faces))
    heat = sample.folder / "heat.mp4"
    return {
        "name": sample.name,
        "step": sample.step,
        "folder": str(sample.folder.resolve()),
        "picture": thumbnail(sample.video, 160),
        **_files(sample, runs_dir),
        "heat": served_file(heat, runs_dir) if (sample.folder / "heat.json").is_file() else None,
        "heat_info": served_file(sample.folder / "heat.json", runs_dir),
        # A new file under an old address must not come from the browser's cache.
        "version": _modified(sample.faces) // 1_000_000,
        "heat_version": _modified(heat) // 1_000_000,
        "reference": _files(reference, runs_dir) if reference and reference.folder != sample.folder else None,
        **about,
    }


def _files(sample: Sample, runs_dir: Path) -> dict[str, str | None]:
    return {
        "video": served_file(sample.video, runs_dir),
        "faces": served_file(sample.faces, runs_dir),
        "crops": served_file(sample.folder / "crops.jpg", runs_dir),
    }


@lru_cache(maxsize=512)
def _about(path: str, modified_ns: int) -> dict[str, Any]:
    """What is shown before the page has loaded faces.json itself."""
    content = read_json(Path(path)) or {}
    said = summary(content)
    return {
        "prompt": str(content.get("prompt") or ""),
        "seed": content.get("seed") if isinstance(content.get("seed"), int) else None,
        "sentence": said.sentence,
        "level": said.level,
        **{name: number(content.get(name)) for name in MEASURES},
    }


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _sample(runs_dir: Path, request: dict[str, Any]) -> tuple[Sample | None, Sample | None]:
    """The sample of a run that the page means, and its real clip."""
    run: RunFolder | None = next((found for found in list_runs(runs_dir) if found.id == request.get("run")), None)
    if run is None:
        return None, None
    references, step = list_references(run), request.get("step")
    name = str(request.get("name"))
    if step == REAL:
        return references.get(name), None
    group = samples_of(run, step) if isinstance(step, int) else []
    return next((sample for sample in group if sample.name == name), None), references.get(name)


def _script() -> str:
    """The page's scripts. What uploads may be is a constant in them: a component's own properties may come too late."""
    limits = {
        "largest_mb": LARGEST_MB,
        "video_types": sorted(VIDEO_SUFFIXES),
        "picture_types": sorted(PICTURE_SUFFIXES),
    }
    parts = ("faces_model.js", "faces_curve.js", "faces_cards.js", "faces_own.js", "faces.js")
    return "\n".join([f"const LIMITS = {json.dumps(limits)};", *(asset(name) for name in parts)])


def build(runs_dir: Path) -> gr.HTML:
    """The page is one component; it asks the server functions for clips and starts jobs."""

    def load_clips(request: dict[str, Any]) -> dict[str, Any]:
        step = request.get("step")
        return clips(runs_dir, str(request.get("run")), step if isinstance(step, int | str) else None)

    def load_job(request: dict[str, Any]) -> dict[str, Any] | None:
        return job_clip(runs_dir, str(request.get("job")))

    def load_examples(request: dict[str, Any]) -> list[dict[str, Any]]:
        return face_scoring.examples(runs_dir)

    def job_picture(request: dict[str, Any]) -> str | None:
        job = face_jobs.find(runs_dir, str(request.get("job")))
        return thumbnail(job.folder / "video.mp4", 96) if job else None

    def check_form(request: dict[str, Any]) -> dict[str, Any]:
        return face_scoring.check(request, runs_dir)

    def start_score(request: dict[str, Any]) -> dict[str, Any]:
        return face_scoring.start(request, runs_dir, Path(get_upload_folder()))

    def start_again(request: dict[str, Any]) -> dict[str, Any]:
        return face_scoring.start_again(runs_dir, face_jobs.find(runs_dir, str(request.get("job"))))

    def start_heat(request: dict[str, Any]) -> dict[str, Any]:
        if request.get("job"):
            return face_scoring.start_heat(runs_dir, None, None, face_jobs.find(runs_dir, str(request["job"])))
        return face_scoring.start_heat(runs_dir, *_sample(runs_dir, request), None)

    def end_job(request: dict[str, Any]) -> dict[str, Any]:
        """Cancel a job that runs, remove one that is finished."""
        job = face_jobs.find(runs_dir, str(request.get("job")))
        if job is not None and not job.is_finished:
            face_jobs.cancel(job)
        elif job is not None:
            face_jobs.delete(job)
        return {}

    return component(
        "faces",
        {"run": None, "steps": [], "jobs": [], "version": 0, "loading": True},
        _script(),
        [
            load_clips,
            load_job,
            load_examples,
            job_picture,
            check_form,
            start_score,
            start_again,
            start_heat,
            end_job,
        ],
    )
