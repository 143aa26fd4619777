"""The reward that is trained: the weighted sum of the face similarity and of rewards of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardfl_app.config.schema import FACE_SIMILARITY
from rewardfl_app.rewards import protocol
from rewardfl_app.rewards.identity import RewardResult
from rewardfl_app.rewards.protocol import Reward, RewardedClip, RewardValues


@dataclass(frozen=True)
class ClipReward:
    """The reward of one clip.

    `total`: sum of weight * value over the rewards that had something to score, in the graph of the frames. `counted`:
    whether any reward with a weight had. `terms`: each reward's value, None where it had nothing to score. `faces`:
    what the face similarity was computed from.
    """

    total: Tensor
    counted: bool
    terms: dict[str, float | None]
    faces: RewardResult


class Mixture:
    """Rewards by name with their weights; a weight of 0 is only measured."""

    def __init__(self, weights: Sequence[tuple[str, float]], device: torch.device) -> None:
        """Loads the rewards that are not the face similarity. Raises ConfigError."""
        self.weights = dict(weights)
        self._own: dict[str, Reward] = {
            name: protocol.load(name, device) for name in self.weights if name != FACE_SIMILARITY
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Every reward that is computed; the face similarity always is."""
        return (FACE_SIMILARITY, *self._own)

    @property
    def is_faces_alone(self) -> bool:
        """Whether the whole reward is the face similarity as it is."""
        return self.weights == {FACE_SIMILARITY: 1.0}

    @property
    def looks_at_videos(self) -> bool:
        """Whether anything but the faces is looked at."""
        return bool(self._own)

    def combine(
        self, video: Tensor | None, faces: Sequence[RewardResult], clips: Sequence[RewardedClip | None]
    ) -> list[ClipReward]:
        """The rewards of a batch [B, 3, T, H, W] whose faces were scored; the video is needed where it is looked at.

        Raises ConfigError.
        """
        known = [clip for clip in clips if clip is not None]
        given: dict[str, RewardValues] = {}
        for name, reward in self._own.items():
            if video is None:
                raise ValueError(f"the reward {name} looks at the video, but only its faces were given")
            given[name] = protocol.checked(name, reward.score(video, known), len(video))
        return [self._combined(place, result, given) for place, result in enumerate(faces)]

    def _combined(self, place: int, faces: RewardResult, given: dict[str, RewardValues]) -> ClipReward:
        values: dict[str, Tensor | None] = {FACE_SIMILARITY: faces.reward if faces.has_face else None}
        for name, answer in given.items():
            values[name] = answer.values[place] if bool(answer.mask[place]) else None
        # Without anything to score the total is 0, still connected to the frames.
        total, counted = faces.reward * 0, False
        for name, weight in self.weights.items():
            value = values[name]
            if value is not None and weight:
                total, counted = total + weight * value.to(total), True
        terms = {name: None if value is None else float(value.detach()) for name, value in values.items()}
        return ClipReward(total, counted, terms, faces)
