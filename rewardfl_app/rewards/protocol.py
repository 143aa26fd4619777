"""A reward of one's own: a class with one method, named in the configuration as `package.module:ClassName`.

class Brightness:
    def __init__(self, device: torch.device) -> None: ...

    def score(self, video: Tensor, clips: Sequence[RewardedClip]) -> RewardValues:
        values = video[:, :, 1:].mean((1, 2, 3, 4))
        return RewardValues(values, torch.ones(len(video), dtype=torch.bool))
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from rewardfl_app.config.problems import ConfigError, Problem

FIELD = "reward.rewards"


@dataclass(frozen=True)
class RewardedClip:
    """What a reward may know of a clip beside the generated frames.

    `first_frame` [3, H, W]: RGB in [-1, 1], as the model was given it. `video`: the real clip's file.
    """

    prompt: str
    first_frame: Tensor
    video: Path


@dataclass(frozen=True)
class RewardValues:
    """One value per clip of a batch, higher is better, with gradients to the frames; a mask instead of exceptions.

    `values` [B]: float. `mask` [B]: bool, False where there is nothing to score; the value there is not looked at.
    """

    values: Tensor
    mask: Tensor


class Reward(Protocol):
    """Scores generated videos; constructed once, with the device of the video: `ClassName(device)`."""

    def score(self, video: Tensor, clips: Sequence[RewardedClip]) -> RewardValues:
        """The rewards of a batch of videos [B, 3, T, H, W], RGB in about [-1, 1] (not clamped); frame 0 is given."""
        ...


def load(name: str, device: torch.device) -> Reward:
    """The reward a configuration names. Raises ConfigError when there is none of this name or it cannot be made."""
    module_name, _, class_name = name.partition(":")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except ImportError as error:
        raise _refused(name, f"its module cannot be imported ({error})") from error
    except AttributeError as error:
        raise _refused(name, f"the module {module_name} has no {class_name}") from error
    try:
        reward: Reward = kind(device)
    except Exception as error:  # whatever a person's own constructor raises
        raise _refused(name, f"{class_name}(device) failed ({type(error).__name__}: {error})") from error
    if not callable(getattr(reward, "score", None)):
        raise _refused(name, "it has no method score(video, clips)")
    return reward


def checked(name: str, given: object, count: int) -> RewardValues:
    """What a reward returned for `count` clips. Raises ConfigError when it is not one value and one mask per clip."""
    if not isinstance(given, RewardValues):
        raise _refused(name, f"score must return RewardValues, not {type(given).__name__}")
    for part, tensor, fits in (
        ("values", given.values, given.values.is_floating_point()),
        ("mask", given.mask, given.mask.dtype == torch.bool),
    ):
        if tensor.shape != (count,) or not fits:
            wanted = "floats" if part == "values" else "booleans"
            raise _refused(name, f"{part} must be {count} {wanted}, not {list(tensor.shape)} of {tensor.dtype}")
    if not bool(torch.isfinite(given.values.detach()[given.mask.to(given.values.device)]).all()):
        raise _refused(name, "a value is infinite or not a number where its mask is True")
    return given


def _refused(name: str, why: str) -> ConfigError:
    return ConfigError([Problem(FIELD, f"The reward {name} cannot be used: {why}.")])
