"""The settings of the reward for scoring a video by itself, from the face pack that a person names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rewardfl_app.config import files, presets
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.inference import scoring_request
from rewardfl_app.supervisor import freeze


def reward(face_pack: str, judge: str | None = None, assignments: Iterable[str] = ()) -> RewardConfig:
    """The `reward` section for a face pack (`pocket`: the embedded one, with its own judge and detection size).

    `assignments`: changes as `reward.field=value`. Raises ConfigError with every problem.
    """
    base: dict[str, Any] = {"reward_model_path": _absolute(face_pack)}
    if face_pack == freeze.EMBEDDED_FAMILY:
        config = freeze.with_embedded_scorers(presets.preset(freeze.EMBEDDED_FAMILY))
        base = files.to_mapping(config)["reward"]
    if judge is not None:
        base["judge_model_path"] = _absolute(judge)
    mapping = files.override({"reward": base}, assignments)
    if others := sorted(set(mapping) - {"reward"}):
        raise ConfigError([Problem(name, f"Only settings of reward matter here, not of {name}.") for name in others])
    return scoring_request.reward_settings(mapping["reward"])


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
