"""The inverse of `freeze`: the settings of a run as a person gave them, without the files of the embedded family.

A path is known by its form, not by its place, so that the runs folder and the package may have moved since.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewardfl_app.config.schema import Config
from rewardfl_app.pocket import paths
from rewardfl_app.supervisor.freeze import EMBEDDED_DATA_FOLDER, EMBEDDED_FAMILY

_PACKAGE = Path(__file__).resolve().parents[1]


def without_embedded(config: Config) -> Config:
    """A frozen configuration in which everything that only `freeze` can have filled in is empty again."""
    if config.model.model_name != EMBEDDED_FAMILY:
        return config
    changes: dict[str, dict[str, Any]] = {"model": {}, "data": {}, "evaluation": {}, "reward": {}}
    if _named(config.model.model_paths, "model_paths.json"):
        changes["model"]["model_paths"] = None
        if _inside(config.model.tokenizer_path, paths.WAN):
            changes["model"]["tokenizer_path"] = ""
    if _named(config.data.metadata_path, EMBEDDED_DATA_FOLDER, "metadata.csv"):
        changes["data"]["metadata_path"] = None
        if _named(config.evaluation.metadata_path, EMBEDDED_DATA_FOLDER, "metadata_eval.csv"):
            changes["evaluation"]["metadata_path"] = None
    if _inside(config.reward.reward_model_path, paths.FACE_PACK):
        changes["reward"]["reward_model_path"] = None
        if _inside(config.reward.judge_model_path, paths.JUDGE):
            changes["reward"]["judge_model_path"] = None
    sections = {name: getattr(config, name).model_copy(update=update) for name, update in changes.items()}
    return config.model_copy(update=sections)


def _named(path: str | None, *names: str) -> bool:
    """Whether the path ends with these names."""
    return path is not None and Path(path).parts[-len(names) :] == names


def _inside(path: str | None, embedded: Path) -> bool:
    """Whether the path ends as one of the package's own files does, or lies in its folder."""
    if not path:
        return False
    tail = (_PACKAGE.name, *embedded.relative_to(_PACKAGE).parts)
    parts = Path(path).parts
    return any(parts[start : start + len(tail)] == tail for start in range(len(parts) - len(tail) + 1))
