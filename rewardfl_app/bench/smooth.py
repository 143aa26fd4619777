"""A reward without a kink, which shows how exact a gradient is where float32 lets it.

The face similarity does not: a pixel that rounds the other way moves the detector's landmarks by a thousandth of a
pixel, and units of the recogniser that stand at their kink turn over.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewardfl_app.rewards.protocol import RewardedClip, RewardValues

NAME = f"{__name__}:Brightness"


class Brightness:
    """Mean of tanh(pixel) over the frames after the first."""

    def __init__(self, device: torch.device) -> None:
        pass

    def score(self, video: Tensor, clips: Sequence[RewardedClip]) -> RewardValues:
        return RewardValues(brightness(video), torch.ones(len(video), dtype=torch.bool, device=video.device))


def brightness(video: Tensor) -> Tensor:
    """The values [B] of videos [B, 3, T, H, W]."""
    return torch.tanh(video[:, :, 1:]).flatten(1).mean(1)
