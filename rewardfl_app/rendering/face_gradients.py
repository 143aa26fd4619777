"""The faces of a clip that a loss depends on, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rewardfl_app.rewards.observation import FrameFaces
from rewardfl_app.rewards.reference import Face


@dataclass(frozen=True)
class FaceGradients:
    """Faces with d loss / d embedding, `gradients` [M, D], none of them all zero.

    `frames` [M]: number of the frame. `people` [M]: place of the person in the reference, -1 of a bystander. `boxes`
    [M, 4] and `landmarks` [M, 5, 2]: in pixels. All but the gradients are on the CPU.
    """

    frames: Tensor
    people: Tensor
    boxes: Tensor
    landmarks: Tensor
    gradients: Tensor

    @classmethod
    def of(cls, seen: Sequence[FrameFaces], gradients: Tensor, described: Sequence[Sequence[Face]]) -> FaceGradients:
        """From the gradients [M, D] of all faces of a clip, frame after frame, and who they are."""
        people = [face["identity"] for frame in described for face in frame]
        return cls(
            torch.arange(len(seen)).repeat_interleave(torch.tensor([len(faces) for faces in seen])),
            torch.tensor([-1 if who is None else who for who in people], dtype=torch.long),
            torch.cat([faces.detections.boxes[:, :4] for faces in seen]),
            torch.cat([faces.detections.landmarks for faces in seen]),
            gradients,
        ).where((gradients != 0).any(1).cpu())

    def where(self, chosen: Tensor) -> FaceGradients:
        """The faces for which `chosen` [M] is true."""
        rows = chosen.nonzero()[:, 0]
        return FaceGradients(
            self.frames[rows],
            self.people[rows],
            self.boxes[rows],
            self.landmarks[rows],
            self.gradients[rows.to(self.gradients.device)],
        )

    def every(self, stride: int, offset: int) -> FaceGradients:
        """Those of every stride-th frame from `offset` on, `stride` times as strong: over all offsets the mean is all
        of them."""
        chosen = self.where(self.frames % stride == offset)
        return replace(chosen, gradients=chosen.gradients * stride)

    def within(self, frames: range) -> FaceGradients:
        """Those in some of the frames."""
        return self.where((self.frames >= frames.start) & (self.frames < frames.stop))

    def __len__(self) -> int:
        return len(self.frames)
