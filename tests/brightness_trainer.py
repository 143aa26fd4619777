"""A trainer process whose reward is the brightness of the picture instead of faces: random networks draw none.

`python brightness_trainer.py RUN_DIR`, or imported for its `use_brightness`. Everything else is the real trainer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rewardfl_app.rendering.scoring import ClipReference, Measurement, Scorer
from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.identity import Reference, RewardResult
from rewardfl_app.rewards.judge import JudgeResult
from rewardfl_app.rewards.mixture import ClipReward
from rewardfl_app.rewards.observation import FrameFaces
from rewardfl_app.runs.process_end import end_process
from rewardfl_app.runs.video_values import MEASURES


class BrightnessScorer:
    """Reward: mean of tanh(pixel) of the frames after the first. Clips in `faceless` (by place in the batch) have no
    face."""

    measures = MEASURES
    looks_at_videos = True

    def __init__(self, faceless: Sequence[int] = (), broken: bool = False) -> None:
        self.faceless = set(faceless)
        self.broken = broken

    def reference(self, clip: Any) -> ClipReference:
        return ClipReference(Reference([], clip.size[0], [[]], []), None)

    def has_face(self, first_frames: Tensor) -> list[bool]:
        return [True] * len(first_frames)

    def rewards(self, video: Tensor, references: Sequence[ClipReference]) -> list[ClipReward]:
        assert len(video) == len(references)
        results = [self._reward(place, clip) for place, clip in enumerate(video)]
        return [ClipReward(result.reward, result.has_face, {}, result) for result in results]

    def foresee(self, frames: Tensor) -> list[FrameFaces]:
        nothing = Faces(torch.zeros(0, 5), torch.zeros(0, 5, 2))
        return [FrameFaces(nothing, torch.zeros(0, 1)) for _ in frames]

    def combine(
        self, seen: Sequence[Sequence[FrameFaces]], video: Tensor, references: Sequence[ClipReference]
    ) -> list[ClipReward]:
        return self.rewards(video, references)

    def pull_back(self, frames: Tensor, index: Tensor, landmarks: Tensor, gradient: Tensor) -> Tensor:
        return torch.zeros_like(frames)

    def measure(self, video: Tensor, references: Sequence[ClipReference]) -> list[Measurement]:
        return [
            Measurement(reward.faces, JudgeResult(None, None, None, 1.0, [[]]))
            for reward in self.rewards(video, references)
        ]

    def _reward(self, place: int, clip: Tensor) -> RewardResult:
        found = place not in self.faceless
        reward = torch.tanh(clip[:, 1:]).mean() if found else clip[:0].sum()
        return RewardResult(reward * (float("nan") if self.broken else 1.0), found, float(found), [], [[]], [])


def use_brightness() -> None:
    Scorer.load = classmethod(lambda cls, reward, device="cpu": BrightnessScorer())  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    from rewardfl_app.training.__main__ import main

    use_brightness()
    end_process(main(sys.argv[1:]))
