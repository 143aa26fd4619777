"""Make a configuration complete before it is frozen into a run: absolute paths, and the files of the embedded model
family.

Only here are the embedded files put in: everything that reads the frozen configuration finds plain paths and treats the
embedded family like any other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from rewardfl_app.config.schema import Config
from rewardfl_app.pocket import paths, pocket_data
from rewardfl_app.runs import file_lock
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic

Model = TypeVar("Model", bound=BaseModel)

EMBEDDED_FAMILY = "pocket"
EMBEDDED_DATA_FOLDER = ".pocket_data"


def absolute_paths(config: Config) -> Config:
    """The configuration with every path made absolute (from the current folder); `~` is the home folder."""
    return _updated(config, {name: _absolute_section(getattr(config, name)) for name in type(config).model_fields})


def uses_embedded_data(config: Config) -> bool:
    """Whether the training clips are those that ship with the package."""
    return config.model.model_name == EMBEDDED_FAMILY and config.data.metadata_path is None


def uses_embedded_models(config: Config) -> bool:
    """Whether the generating model is the one that ships with the package."""
    named = config.model.model_paths or config.model.model_id_with_origin_paths
    return config.model.model_name == EMBEDDED_FAMILY and not named


def with_embedded_scorers(config: Config) -> Config:
    """Fill in the face pack and the judge of the embedded family where the configuration names none."""
    if config.model.model_name != EMBEDDED_FAMILY or config.reward.reward_model_path:
        return config
    scorers = {"reward_model_path": str(paths.FACE_PACK)}
    if not config.reward.judge_model_path:
        scorers["judge_model_path"] = str(paths.JUDGE)
    return _updated(config, {"reward": _updated(config.reward, scorers)})


def with_embedded_data(config: Config, runs_dir: Path) -> Config:
    """Fill in the embedded clips where the configuration names none, rendering them once into runs_dir.

    Raises OSError.
    """
    if not uses_embedded_data(config):
        return config
    # Two runs that start at once must not both render it.
    with file_lock.held(runs_dir / f"{EMBEDDED_DATA_FOLDER}.lock"):
        training, evaluation = pocket_data.ensure(runs_dir / EMBEDDED_DATA_FOLDER)
    filled = _updated(config, {"data": _updated(config.data, {"metadata_path": str(training)})})
    if config.evaluation.metadata_path is None:
        chosen = _updated(config.evaluation, {"metadata_path": str(evaluation)})
        filled = _updated(filled, {"evaluation": chosen})
    return filled


def with_embedded_models(config: Config, run: RunFolder) -> Config:
    """Fill in the embedded generator where the configuration names none, by a model_paths.json in the run folder."""
    if not uses_embedded_models(config):
        return config
    parts = ("transformer", "transformer_2", "text_encoder", "vae")
    write_json_atomic(run.model_paths, [str(paths.WAN / part) for part in parts])
    chosen = {
        "model_paths": str(run.model_paths),
        "tokenizer_path": config.model.tokenizer_path or str(paths.WAN / "tokenizer"),
    }
    return _updated(config, {"model": _updated(config.model, chosen)})


def _absolute_section(section: Any) -> Any:
    changed = {}
    for name, field in type(section).model_fields.items():
        extra = field.json_schema_extra
        value = getattr(section, name)
        if isinstance(extra, dict) and "path" in extra and value:
            changed[name] = os.path.abspath(os.path.expanduser(value))
    return _updated(section, changed)


def _updated(model: Model, values: dict[str, Any]) -> Model:
    return model.model_copy(update=values)
