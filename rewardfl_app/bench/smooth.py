"""A reward without a kink, which shows how exact a gradient is where float32 lets it.

The gradient of the face similarity hangs on the last bits: on the pocket models it moves by 7e-5 when the latents move
by 1e-7 of their size, and by 4e-4 for 1e-6 (relative errors). In float64 its stages are compared in
tests/rendering/test_reward_gradient.py.
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
