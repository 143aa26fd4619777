"""How much a whole picture moves, so that a clip that stands still is not taken for a steady person.

What is kept of a frame is a small grey picture: noise and grain average out in it, and a long clip takes no memory.

    frame_motion         mean over neighbouring frames of mean |difference|
    first_frame_distance mean over the later frames of mean |difference to frame 0|

both in percent of the range from black to white. A frozen clip has neither, a camera that pans much of both; a clip
that trembles around its first frame has motion, but stays near it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST_SIDE = 48


def thumbnails(frames: Tensor) -> Tensor:
    """Grey pictures [N, h, w] in [0, 1], float16 on the CPU, of frames [N, 3, H, W], RGB in [-1, 1] or uint8.

    The longest side is at most LONGEST_SIDE; each pixel is the mean of the area it covers.
    """
    levels = frames.float() / 255 if frames.dtype == torch.uint8 else (frames.float().clamp(-1, 1) + 1) / 2
    grey = (levels * levels.new_tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    scale = min(1.0, LONGEST_SIDE / max(grey.shape[-2:]))
    size = [max(1, round(side * scale)) for side in grey.shape[-2:]]
    return F.interpolate(grey, size, mode="area")[:, 0].half().cpu()


def frame_motion(pictures: Sequence[Tensor]) -> float | None:
    """Motion of a clip in percent from the thumbnails [h, w] of its frames; None for a single frame."""
    if len(pictures) < 2:
        return None
    shown = torch.stack(list(pictures)).double()
    return float(100 * (shown[1:] - shown[:-1]).abs().mean())


def first_frame_distance(pictures: Sequence[Tensor]) -> float | None:
    """How far a clip leaves its first frame, in percent, from its thumbnails [h, w]; None for a single frame."""
    if len(pictures) < 2:
        return None
    shown = torch.stack(list(pictures)).double()
    return float(100 * (shown[1:] - shown[0]).abs().mean())
