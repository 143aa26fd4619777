"""A pack whose faces are painted squares: position is where the square is, identity is its colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from rewardfl_app.rewards.alignment import TEMPLATE
from rewardfl_app.rewards.detector import FaceDetector, Faces
from rewardfl_app.rewards.pack import FacePack
from rewardfl_app.rewards.recogniser import Recogniser

SIDE = 24
Spot = tuple[int, int, tuple[float, float, float]]  # left, top, colour in [-1, 1]

RED, GREEN, BLUE = (0.8, -0.2, -0.2), (-0.2, 0.8, -0.2), (-0.2, -0.2, 0.8)


def mixed(first: tuple[float, ...], second: tuple[float, ...], share: float) -> tuple[float, float, float]:
    a, b, c = ((1 - share) * x + share * y for x, y in zip(first, second, strict=True))
    return a, b, c


def paint(frames: list[list[Spot]], height: int = 64, width: int = 96) -> Tensor:
    """A clip [T, 3, height, width] with the squares of each frame on grey 0."""
    clip = torch.zeros(len(frames), 3, height, width)
    for frame, spots in enumerate(frames):
        for left, top, colour in spots:
            clip[frame, :, top : top + SIDE, left : left + SIDE] = torch.tensor(colour)[:, None, None]
    return clip


class SquareDetector(nn.Module):
    """Finds the painted squares by their corners, best first from left to right; the frames carry no gradient."""

    @torch.no_grad()
    def detect(self, frames: Tensor, det_size: int = 640, threshold: float = 0.5, nms: float = 0.4) -> list[Faces]:
        return [self._find(frame) for frame in frames]

    def _find(self, frame: Tensor) -> Faces:
        painted = frame.abs().sum(0) > 0.05
        boxes, landmarks = [], []
        for left in range(painted.shape[1]):
            for top in range(painted.shape[0]):
                if painted[top, left]:
                    boxes.append([left, top, left + SIDE, top + SIDE, 0.9])
                    inner = torch.tensor(TEMPLATE) / 112 * (SIDE - 4) + torch.tensor([left + 2.0, top + 2.0])
                    landmarks.append(inner)
                    painted[top : top + SIDE, left : left + SIDE] = False
        return Faces(torch.tensor(boxes).reshape(-1, 5), torch.stack(landmarks) if landmarks else torch.zeros(0, 5, 2))


class ColourRecogniser(nn.Module):
    """The mean colour of the crop's middle is the embedding."""

    size = 112
    embedding_size = 3

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unit", torch.ones(1))

    def forward(self, crops: Tensor) -> Tensor:
        return crops[:, :, 30:80, 30:80].mean((2, 3)) * cast(Tensor, self.unit)


def painted_pack() -> FacePack:
    detector: Any = SquareDetector()
    recogniser: Any = ColourRecogniser()
    return FacePack(Path("painted"), cast(FaceDetector, detector), cast(Recogniser, recogniser), torch.device("cpu"))
