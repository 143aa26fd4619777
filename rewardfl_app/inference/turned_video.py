"""Whether a video without faces only lies on its side or its head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from rewardfl_app.data.image import Pixels
from rewardfl_app.inference.clip_source import to_frames
from rewardfl_app.rewards.observation import FrameFaces

_NUM_FRAMES = 3
_APART = 5  # faceless frames from one that is kept to the next
_QUARTERS = {180: 2, 90: -1, 270: 1}  # degrees clockwise -> numpy's quarter turns


class Observes(Protocol):
    """What a scorer does with frames."""

    def observe(self, frames: Tensor) -> list[FrameFaces]: ...


class TurnedVideo:
    """Keeps a few frames in which no face was found, and looks at them again from the other sides."""

    def __init__(self) -> None:
        self._kept: list[Pixels] = []
        self._passed = 0

    def keep(self, pixels: Pixels, found: Sequence[FrameFaces]) -> None:
        """The next frames uint8 [n, H, W, 3] of a video, and the faces in each."""
        for frame, faces in zip(pixels, found, strict=True):
            if len(faces):
                continue
            if self._passed % _APART == 0 and len(self._kept) < _NUM_FRAMES:
                self._kept.append(frame.copy())
            self._passed += 1

    def degrees(self, scorer: Observes) -> int | None:
        """By how many degrees, clockwise, faces are found in most of the kept frames; None when they never are."""
        for degrees, quarters in _QUARTERS.items():
            seen = [scorer.observe(to_frames(np.rot90(frame, quarters)[None]))[0] for frame in self._kept]
            if 2 * sum(len(faces) > 0 for faces in seen) > len(seen):
                return degrees
        return None
