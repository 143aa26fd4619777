"""Rewards as a person would write them, named in configurations as own_rewards:ClassName."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewardfl_app.rewards.protocol import RewardedClip, RewardValues


class Brightness:
    """Mean of the pixels after frame 0; nothing to score where the prompt asks for night."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def score(self, video: Tensor, clips: Sequence[RewardedClip]) -> RewardValues:
        mask = torch.tensor(["night" not in clip.prompt for clip in clips])
        return RewardValues(video[:, :, 1:].mean((1, 2, 3, 4)), mask)


class NearFirstFrame:
    """Minus the mean distance to the first frame."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def score(self, video: Tensor, clips: Sequence[RewardedClip]) -> RewardValues:
        first = torch.stack([clip.first_frame for clip in clips]).to(video)
        return RewardValues(-(video - first[:, :, None]).abs().mean((1, 2, 3, 4)), torch.ones(len(clips)).bool())


class OneNumber:
    """Forgets that there is a batch."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def score(self, video: Tensor, clips: Sequence[RewardedClip]) -> RewardValues:
        return RewardValues(video.mean(), torch.ones(len(clips)).bool())


class NotANumber(OneNumber):
    def score(self, video: Tensor, clips: Sequence[RewardedClip]) -> RewardValues:
        return RewardValues(torch.full((len(clips),), float("nan")), torch.ones(len(clips)).bool())


class NeedsMore:
    def __init__(self, device: torch.device, weights: str) -> None:
        self.weights = weights


class WithoutScore:
    def __init__(self, device: torch.device) -> None:
        self.device = device
