"""Windows of the latents around the faces that a loss depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rewardfl_app.rendering.face_gradients import FaceGradients
from rewardfl_app.rewards import alignment


@dataclass(frozen=True)
class Window:
    """Rows and columns of the latents, and the faces inside, in pixels of the window."""

    rows: slice
    columns: slice
    faces: FaceGradients


def around(faces: FaceGradients, margin: float, size: tuple[int, int], scale: int) -> list[Window]:
    """A window over all frames around each person, or one around several where that is no larger.

    Args:
        margin: room on each side, as a share of the box around the person's faces of all frames.
        size: h, w of the latents.
        scale: pixels of a frame per latent.
    """
    extents = _extents(faces)
    boxes: list[tuple[Tensor, Tensor]] = []  # left, top, right, bottom in latents, and which people
    for who in faces.people.unique():
        mine = extents[faces.people == who]
        box = torch.cat([mine[:, :2].amin(0), mine[:, 2:].amax(0)])
        room = margin * (box[2:] - box[:2])
        box = torch.cat([((box[:2] - room) / scale).floor(), ((box[2:] + room) / scale).ceil()]).long()
        limit = torch.tensor([size[1], size[0]])
        # At least one latent, of a face beyond the edge too.
        low = torch.minimum(box[:2].clamp_min(0), limit - 1)
        boxes.append((torch.cat([low, torch.minimum(torch.maximum(box[2:], low + 1), limit)]), who[None]))
    windows = []
    for box, people in _merged(boxes):
        left, top, right, bottom = box.tolist()
        inside = faces.where(torch.isin(faces.people, people))
        shift = torch.tensor([left, top], dtype=inside.landmarks.dtype) * scale
        moved = replace(inside, boxes=inside.boxes - shift.repeat(2), landmarks=inside.landmarks - shift)
        windows.append(Window(slice(top, bottom), slice(left, right), moved))
    return windows


def _extents(faces: FaceGradients) -> Tensor:
    """Left, top, right, bottom [M, 4] of what is cut out of the frames for each face, its box included, in pixels."""
    size = 112
    back = alignment.inverse(alignment.similarity_transforms(faces.landmarks, size))
    edge = torch.tensor([[0, 0], [size, 0], [0, size], [size, size]], dtype=back.dtype)
    corners = edge @ back[:, :, :2].transpose(1, 2) + back[:, None, :, 2]
    low = torch.minimum(corners.amin(1), faces.boxes[:, :2])
    return torch.cat([low, torch.maximum(corners.amax(1), faces.boxes[:, 2:])], 1)


def _merged(boxes: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Boxes joined as long as the box around two is not larger than both together."""
    for first in range(len(boxes)):
        for second in range(first + 1, len(boxes)):
            (a, people), (b, others) = boxes[first], boxes[second]
            union = torch.cat([torch.minimum(a[:2], b[:2]), torch.maximum(a[2:], b[2:])])
            if _area(union) <= _area(a) + _area(b):
                rest = [box for place, box in enumerate(boxes) if place not in (first, second)]
                return _merged([*rest, (union, torch.cat([people, others]))])
    return boxes


def _area(box: Tensor) -> int:
    return int((box[2] - box[0]) * (box[3] - box[1]))
