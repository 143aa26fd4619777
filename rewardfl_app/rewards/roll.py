"""The reference implementation's own way of seeing a face, for `roll_compatible` alone.

It differs from insightface: the detector gets pixels / 127.5 with an antialiased resize and grey padding, overlap is
counted without the inclusive pixel, only the largest face of a frame counts, the crop's grid is a little off scale
(width and width minus one are mixed), and the recogniser gets BGR.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.rewards.alignment import inverse, similarity_transforms
from rewardfl_app.rewards.detector import FaceDetector, Faces, fitted
from rewardfl_app.rewards.recogniser import Recogniser


@torch.no_grad()
def largest_faces(detector: FaceDetector, frames: Tensor, det_size: int, threshold: float, nms: float) -> list[Faces]:
    """At most one face per frame of frames [N, 3, H, W] (not clamped): the one with the largest box."""
    size = detector.canvas(det_size)
    height, width = fitted(frames.shape[-2], frames.shape[-1], size)
    found: list[Faces] = []
    for frame in frames.detach().float().split(1):
        resized = F.interpolate(frame, (height, width), mode="bilinear", align_corners=False, antialias=True)
        canvas = F.pad(resized, (0, size[0] - width, 0, size[1] - height))
        found += detector.decode(canvas, height / frame.shape[-2], threshold, nms, overlap_offset=0.0)
    return [_largest(faces) for faces in found]


def _largest(faces: Faces) -> Faces:
    if len(faces) < 2:
        return faces
    best = int(torch.argsort(faces.areas, stable=True)[-1])
    return Faces(faces.boxes[best : best + 1], faces.landmarks[best : best + 1])


def embed(recogniser: Recogniser, frames: Tensor, frame_index: Tensor, landmarks: Tensor) -> Tensor:
    """Embeddings [M, D] of the faces with landmarks [M, 5, 2] in frames [N, 3, H, W]."""
    if len(frame_index) == 0:
        return recogniser.raw(frames.new_zeros(0, 3, recogniser.size, recogniser.size))
    rows, columns = frames.shape[-2:]
    side = recogniser.size
    back = inverse(similarity_transforms(landmarks, side)).cpu()
    x = torch.arange(min(side, columns), dtype=torch.float64) * columns / max(columns - 1, 1)
    y = torch.arange(min(side, rows), dtype=torch.float64) * rows / max(rows - 1, 1)
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    points = torch.einsum("mij,yxj->myxi", back[:, :, :2], points) + back[:, None, None, :, 2]
    # Frame coordinates divided by the size (not the size minus one), then read with aligned corners.
    grid = (2 * points / torch.tensor([columns, rows], dtype=torch.float64) - 1).to(frames)
    crops = F.grid_sample(frames[frame_index.to(frames.device)], grid, align_corners=True)
    if crops.shape[-2:] != (side, side):  # frames smaller than the crop
        crops = F.interpolate(crops, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return recogniser.raw(crops[:, [2, 1, 0]])
