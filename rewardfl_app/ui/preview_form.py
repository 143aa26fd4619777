"""The Playground's form: the models it can choose from, and its values as a request to the worker, or what is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.config import presets, schedule
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import best, checkpoints, settings
from rewardfl_app.runs.checkpoints import CheckpointError
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.previews import PreviewRequest
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import preview
from rewardfl_app.supervisor.freeze import EMBEDDED_FAMILY
from rewardfl_app.supervisor.preview import PreviewError
from rewardfl_app.ui import preview_pictures
from rewardfl_app.ui.charts import number
from rewardfl_app.ui.preview_pictures import PictureError

PROMPT_LIMIT = 2000
LARGEST_SEED = 2**31 - 1
LARGEST_STRENGTH = 2.0
BASE = "base"
PRESET_TITLE = "Pocket, untrained"
_NEEDED = ("model", "reward")  # sections whose files a video needs


@dataclass(frozen=True)
class Model:
    """A model that can be rendered with: the settings and checkpoints of a run, or a preset without any.

    `problem` is a sentence on why it cannot be used, empty when it can.
    """

    id: str
    title: str
    run: RunFolder | None
    config: Config | None
    problem: str = ""

    @property
    def checkpoints(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return [found.step for found in checkpoints.list_checkpoints(self.run)] if self.run else []


def models(runs_dir: Path) -> list[dict[str, Any]]:
    """What can be chosen: [{id, title, started, trained}], the newest run first, the preset last."""
    rows = []
    for run in list_runs(runs_dir):
        if run.config.is_file():
            info = read_json(run.run_info) or {}
            title, started = str(info.get("name") or run.id), number(info.get("created"))
            trained = any(run.checkpoints.glob("step_*"))
            rows.append({"id": f"run:{run.id}", "title": title, "started": started, "trained": trained})
    return [*rows, {"id": f"preset:{EMBEDDED_FAMILY}", "title": PRESET_TITLE, "started": None, "trained": False}]


def find_model(name: str, runs_dir: Path) -> Model | None:
    """The model of an id, None when it is gone."""
    kind, _, rest = name.partition(":")
    if kind == "preset" and rest == EMBEDDED_FAMILY:
        return Model(name, PRESET_TITLE, None, presets.preset(rest))
    run = next((found for found in list_runs(runs_dir) if kind == "run" and found.id == rest), None)
    if run is None or not run.config.is_file():
        return None
    title = str((read_json(run.run_info) or {}).get("name") or run.id)
    try:
        config = settings.load(run, check_files=False)
    except ConfigError as error:
        return Model(name, title, run, None, f"The settings of this run cannot be read: {error.problems[0].message}")
    return Model(name, title, run, config, _missing_file(run))


def describe(model: Model, runs_dir: Path) -> dict[str, Any]:
    """What the form shows of a chosen model: {id, title, problem, checkpoints, best, facts, draws, pictures}."""
    config, chosen = model.config, best.read(model.run) if model.run else None
    return {
        "id": model.id,
        "title": model.title,
        "problem": model.problem,
        "checkpoints": model.checkpoints,
        "best": chosen.step if chosen else None,
        "facts": _facts(config) if config else "",
        "draws": bool(config and config.model.model_name == EMBEDDED_FAMILY),
        "pictures": preview_pictures.offered(config, runs_dir),
    }


def start(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """Ask for the videos of the form. Returns {job} or {problems: [{field, message}]}; a problem of none has field "".

    Args:
        request: {model, checkpoint: "base" or a step, picture, prompt, seed, strength} as the page holds them.
    """
    problems: dict[str, str] = {}
    model = find_model(str(request.get("model")), runs_dir)
    if model is None:
        problems["model"] = "That run is not there any more: choose another."
    elif model.problem:
        problems["model"] = model.problem
    checkpoint = None
    if model is not None and not problems:
        try:
            checkpoint = _checkpoint(model, request.get("checkpoint"))
        except CheckpointError as error:
            problems["checkpoint"] = str(error)
    prompt = str(request.get("prompt") or "").strip()
    if not prompt:
        problems["prompt"] = "Say what happens in the video."
    elif len(prompt) > PROMPT_LIMIT:
        problems["prompt"] = f"The prompt has {len(prompt)} characters, at most {PROMPT_LIMIT} are taken: shorten it."
    seed, strength = _whole(request.get("seed")), number(_decimal(request.get("strength", 1.0)))
    if seed is None or not 0 <= seed <= LARGEST_SEED:
        problems["seed"] = f"The seed is a whole number from 0 to {LARGEST_SEED}."
    if strength is None or not 0 <= strength <= LARGEST_STRENGTH:
        problems["strength"] = f"The strength is a number from 0 to {LARGEST_STRENGTH:g}."
    picture = None
    try:
        picture = preview_pictures.find(str(request.get("picture") or ""), model.config if model else None, runs_dir)
    except PictureError as error:
        problems["picture"] = str(error)
    if problems or model is None or picture is None or seed is None or strength is None:
        return {"problems": [{"field": field, "message": message} for field, message in problems.items()]}
    about = {"model": model.title, "model_id": model.id, "picture": str(request.get("picture"))}
    try:
        run = model.run or preview.preset_folder(runs_dir, EMBEDDED_FAMILY)
        wanted = PreviewRequest(run.path, checkpoint, prompt, seed, strength, about)
        return {"job": preview.ask(runs_dir, wanted, picture).id}
    except PreviewError as error:
        return {"problems": [{"field": "", "message": str(error)}]}
    except OSError as error:
        message = f"Nothing can be written to {runs_dir} ({error.strerror}): free space there."
        return {"problems": [{"field": "", "message": message}]}


def _checkpoint(model: Model, asked: object) -> str | None:
    """The step that is asked for, None for the base model. Raises CheckpointError when it is gone."""
    if asked in (None, "", BASE) or model.run is None:
        return None
    return str(checkpoints.find(model.run, str(asked)).step)


def _missing_file(run: RunFolder) -> str:
    """What is missing on this machine of what a video needs: a sentence, or nothing."""
    try:
        settings.load(run)
    except ConfigError as error:
        for problem in error.problems:
            if problem.field.partition(".")[0] in _NEEDED:
                return problem.message
    return ""


def _facts(config: Config) -> str:
    """Size, length and steps of the videos, and what was trained."""
    data = config.data
    size = f"{data.width} × {data.height}" if data.height and data.width else f"up to {data.max_pixels:,} pixels"
    trained = "all weights" if schedule.trains_all_weights(config) else f"LoRA of rank {config.lora.lora_rank}"
    steps = config.sampling.final_timestep + 1
    return f"{size}, {data.num_frames} frames at {data.fps:g} fps, {steps} denoising steps; {trained}"


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return int(str(value).strip())
    except ValueError:
        return None


def _decimal(value: object) -> float | None:
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None
