"""Playground: an image and a prompt become a video, by the base model and by a run's, beside each other."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from rewardfl_app.runs import previews
from rewardfl_app.runs.previews import Preview
from rewardfl_app.runs.status import FINAL_STATES
from rewardfl_app.supervisor import preview as worker
from rewardfl_app.supervisor.preview import IDLE_MINUTES, PreviewList
from rewardfl_app.ui import preview_form, preview_pictures
from rewardfl_app.ui.component import component
from rewardfl_app.ui.media import PICTURE_SUFFIXES, served_file, thumbnail
from rewardfl_app.ui.preview_pictures import PictureError
from rewardfl_app.ui.theme import asset
from rewardfl_app.ui.uploads import LARGEST_MB

MEASURES = ("reward", "judge", "motion", "sharpness", "face_rate")
MOST_AT_ONCE = 200


def page_payload(listed: PreviewList, rows: Sequence[dict[str, Any]], runs_dir: Path) -> dict[str, Any]:
    """What the page shows at every tick: the worker, the run that has the device, what is going on, what is done.

    A worker is started here when training has ended and something waits.

    Args:
        rows: the runs, {id, name, state}, as the header has them.
    """
    jobs = listed.jobs()
    going_on = [job for job in jobs if not job.is_finished]
    trained = next((row for row in rows if row["state"] not in FINAL_STATES and row["state"] != "queued"), None)
    if going_on and trained is None:
        try:
            worker.advance(runs_dir)
        except OSError as error:
            return {**_payload(jobs, runs_dir, trained), "trouble": f"No worker can be started: {error.strerror}."}
    return _payload(jobs, runs_dir, trained)


def _payload(jobs: Sequence[Preview], runs_dir: Path, trained: dict[str, Any] | None) -> dict[str, Any]:
    now = worker.state(runs_dir)
    return {
        "worker": {"state": now.state, "model": now.model},
        "training": {"run": trained["id"], "name": trained["name"]} if trained else None,
        "going_on": [_going_on(job) for job in reversed(jobs) if not job.is_finished],
        "finished": [job.id for job in jobs if job.is_finished],
        "trouble": "",
    }


def _going_on(job: Preview) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "done": job.done,
        "total": job.total,
        "message": job.message,
        "warning": job.warning,
        "prompt": job.request.prompt,
    }


def results(runs_dir: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Requests with everything the page shows of them, in the order of `ids`; those that are gone are left out."""
    found = (worker.find(runs_dir, name) for name in ids[:MOST_AT_ONCE])
    return [_row(preview, runs_dir) for preview in found if preview is not None]


def _row(preview: Preview, runs_dir: Path) -> dict[str, Any]:
    request, about = preview.request, preview.request.about
    return {
        "id": preview.id,
        "created": preview.created,
        "state": preview.state,
        "message": preview.message,
        "warning": preview.warning,
        "prompt": request.prompt,
        "seed": request.seed,
        "strength": request.strength,
        "checkpoint": request.checkpoint,
        "model": str(about.get("model") or ""),
        "model_id": str(about.get("model_id") or ""),
        "picture": served_file(preview.picture, runs_dir),
        "thumbnail": thumbnail(preview.picture, 128),
        "side_by_side": served_file(preview.side_by_side, runs_dir),
        **{side: _side(preview, side, runs_dir) for side in previews.SIDES},
        **_about(str(preview.folder), preview.state),
    }


def _side(preview: Preview, side: str, runs_dir: Path) -> dict[str, Any] | None:
    video = served_file(preview.video(side), runs_dir)
    return {"video": video, "faces": served_file(preview.faces(side), runs_dir)} if video else None


@lru_cache(maxsize=512)
def _about(folder: str, state: str) -> dict[str, Any]:
    """What result.json says; it is written once, before the state is done."""
    preview = previews.look(Path(folder))
    content = preview.result() if preview and state == "done" else {}
    keys = ("step", "num_steps", "fps", "num_frames", "width", "height", "seconds", "base_kept")
    values = {side: _values(content.get(side)) for side in previews.SIDES}
    return {**{key: content.get(key) for key in keys}, "values": values}


def _values(measured: Any) -> dict[str, Any] | None:
    return {name: measured.get(name) for name in MEASURES} if isinstance(measured, dict) and measured else None


def _script() -> str:
    """The page's scripts. What uploads may be is a constant in them, as on the Faces page."""
    limits = {"largest_mb": LARGEST_MB, "types": sorted(PICTURE_SUFFIXES), "idle_minutes": IDLE_MINUTES}
    limits |= {"prompt": preview_form.PROMPT_LIMIT, "seed": preview_form.LARGEST_SEED}
    parts = ("playground_form.js", "playground_history.js", "playground.js")
    return "\n".join([f"const LIMITS = {json.dumps(limits)};", *(asset(name) for name in parts)])


def build(runs_dir: Path) -> gr.HTML:
    """The page is one component; it asks the server functions for models, pictures and results."""

    def load_models(request: dict[str, Any]) -> list[dict[str, Any]]:
        return preview_form.models(runs_dir)

    def load_model(request: dict[str, Any]) -> dict[str, Any] | None:
        found = preview_form.find_model(str(request.get("model")), runs_dir)
        return preview_form.describe(found, runs_dir) if found else None

    def load_picture(request: dict[str, Any]) -> dict[str, Any] | None:
        """The picture of a name, for a form that was filled in before the page was opened."""
        found = preview_form.find_model(str(request.get("model")), runs_dir)
        picture = preview_pictures.described(str(request.get("picture")), found.config if found else None, runs_dir)
        return picture.row() if picture else None

    def keep_picture(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return preview_pictures.keep_upload(request.get("file"), runs_dir, Path(get_upload_folder())).row()
        except PictureError as error:
            return {"error": str(error)}

    def draw_person(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return preview_pictures.draw_person(random.randrange(10**6), runs_dir).row()
        except PictureError as error:
            return {"error": str(error)}

    def start_preview(request: dict[str, Any]) -> dict[str, Any]:
        return preview_form.start(request, runs_dir)

    def load_results(request: dict[str, Any]) -> list[dict[str, Any]]:
        ids = request.get("ids")
        return results(runs_dir, [str(name) for name in ids] if isinstance(ids, list) else [])

    def end_preview(request: dict[str, Any]) -> dict[str, Any]:
        """Cancel a request that is going on, remove one that is finished."""
        found = worker.find(runs_dir, str(request.get("id")))
        try:
            if found is not None and not found.is_finished:
                worker.cancel(runs_dir, found)
            elif found is not None:
                worker.delete(found)
        except OSError as error:
            return {"error": f"It cannot be removed ({error.strerror})."}
        return {}

    def free_device(request: dict[str, Any]) -> dict[str, Any]:
        """End the worker: what waits is taken up by the next one."""
        worker.give_back(runs_dir)
        return {}

    return component(
        "playground",
        {"worker": {"state": "off", "model": ""}, "going_on": [], "finished": [], "loading": True},
        _script(),
        [
            load_models,
            load_model,
            load_picture,
            keep_picture,
            draw_person,
            start_preview,
            load_results,
            end_preview,
            free_device,
        ],
    )
