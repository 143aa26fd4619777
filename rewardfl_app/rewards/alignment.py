"""Five landmarks to an aligned square crop, differentiable with respect to the pixels.

The template, the transform and the sampling are insightface's `norm_crop` (least-squares similarity transform,
bilinear, black outside the frame). Two things differ on purpose:

- Only a window around each face is sampled, so memory does not grow with the size of the frame.
- A face that must shrink to half or less is first averaged over whole k x k pixels (k = the whole part of the shrink
  factor). Plain bilinear sampling would skip pixels there: aliased values, and no gradient at all for the pixels
  between. Up to a factor of 2 every pixel is reached and the crop equals insightface's.

Pixels are not clamped: a value beyond [-1, 1] still gets its gradient (clamping would make saturated pixels
unreachable).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Left eye, right eye, nose, left and right mouth corner (as seen) in the 112 x 112 crop.
TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
_MOST_SHRINK = 32  # frame pixels per crop pixel; a face of a whole 4K frame has 19
_MARGIN = 2  # pixels around the window, so that bilinear sampling and the averaging grid find their neighbours


def template(size: int) -> Tensor:
    """Where the five landmarks [5, 2] (x, y) lie in a crop of `size` pixels; sizes are multiples of 112 or 128."""
    points = torch.tensor(TEMPLATE, dtype=torch.float64)
    if size % 112 == 0:
        return points * (size / 112)
    if size % 128 == 0:
        return points * (size / 128) + torch.tensor([8.0 * size / 128, 0.0], dtype=torch.float64)
    raise ValueError(f"crop size {size} is not a multiple of 112 or 128")


def similarity_transforms(landmarks: Tensor, size: int = 112) -> Tensor:
    """The similarity transforms [M, 2, 3] (float64) that map landmarks [M, 5, 2], in pixels, onto the template.

    With points as complex numbers the least-squares solution is one division: a = sum(conj(z) w) / sum(|z|^2) over the
    centred points, with a = scale * exp(i * angle).
    """
    source = torch.view_as_complex(landmarks.detach().to(torch.float64).contiguous())
    target = torch.view_as_complex(template(size).to(landmarks.device))
    centre, goal = source.mean(1, keepdim=True), target.mean()
    z, w = source - centre, target - goal
    a = (z.conj() * w).sum(1) / (z.abs() ** 2).sum(1).clamp_min(1e-9)
    # Landmarks that fell on one point, or mirrored ones, have no transform: any bounded one keeps the numbers finite.
    a = torch.where(a.abs() < 1 / _MOST_SHRINK, torch.full_like(a, 1 / _MOST_SHRINK), a)
    b = goal - a * centre[:, 0]
    rows = [torch.stack([a.real, -a.imag, b.real], -1), torch.stack([a.imag, a.real, b.imag], -1)]
    return torch.stack(rows, 1)


def shrink_factors(transforms: Tensor) -> Tensor:
    """How many frame pixels one crop pixel spans, per transform [M]: above 1 the face shrinks."""
    return 1.0 / torch.linalg.vector_norm(transforms[:, :, 0], dim=1)


def inverse(transforms: Tensor) -> Tensor:
    """Crop pixels back to frame pixels, [M, 2, 3]."""
    linear = torch.linalg.inv(transforms[:, :, :2])
    return torch.cat([linear, -linear @ transforms[:, :, 2:]], 2)


def crop(
    frames: Tensor,
    frame_index: Tensor,
    transforms: Tensor,
    size: int = 112,
    antialias: bool = True,
    eight_bit: bool = False,
) -> Tensor:
    """Aligned crops [M, 3, size, size] of frames [N, 3, H, W], in the frames' range and device (at least float32).

    Frames of uint8 give crops in [-1, 1]; only the windows around the faces are converted. `frame_index` [M] says which
    frame each transform [M, 2, 3] samples. Outside the frame is black (-1). `eight_bit` rounds to the 256 levels of an
    image file, as insightface's crops are; the gradient passes the rounding unchanged.
    """
    working = _working(frames)
    count = int(transforms.shape[0])
    if count == 0:
        return frames.new_zeros(0, frames.shape[1], size, size, dtype=working)
    back = inverse(transforms.to(torch.float64)).cpu()
    shrink = shrink_factors(transforms.to(torch.float64)).floor().clamp(1, _MOST_SHRINK).int().tolist()
    factors = shrink if antialias else [1] * count
    edge = torch.tensor([[0, 0], [size - 1, 0], [0, size - 1], [size - 1, size - 1]], dtype=torch.float64)
    corners = edge @ back[:, :, :2].transpose(1, 2) + back[:, None, :, 2]
    low = (corners.amin(1).floor() - _MARGIN).long()
    span = (corners.amax(1).ceil() + _MARGIN + 1).long() - low
    steps = torch.arange(size, dtype=torch.float64)
    source = frames.unbind(0)  # one backward for the whole video instead of one per face
    crops: list[Tensor] = [frames] * count  # each place is filled below, grouped by factor
    for factor in sorted(set(factors)):
        members = [m for m in range(count) if factors[m] == factor]
        side = [math.ceil(int(span[members, axis].max()) / factor) * factor for axis in (0, 1)]
        windows = []
        for m in members:
            window = _window(source[int(frame_index[m])], int(low[m, 0]), int(low[m, 1]), side[0], side[1])
            windows.append(F.avg_pool2d(window[None], factor)[0] if factor > 1 else window)
        # In the window, averaged pixel p stands at frame pixel low + p * factor + (factor - 1) / 2; grid_sample wants
        # (2 p + 1) / extent - 1. What crop position (x, y) maps to is a part of x and a part of y, added up.
        extent = torch.tensor([side[0] // factor, side[1] // factor], dtype=torch.float64)
        start = (back[members][:, :, 2] - low[members] - (factor - 1) / 2) / factor
        rates = 2 * back[members][:, :, :2] / factor / extent[:, None]
        along_x = (rates[:, :, 0, None] * steps + ((2 * start + 1) / extent - 1)[:, :, None]).to(frames.device, working)
        along_y = (rates[:, :, 1, None] * steps).to(frames.device, working)
        grid = (along_x[:, :, None, :] + along_y[:, :, :, None]).permute(0, 2, 3, 1)
        stack = torch.stack(windows)
        sampled = F.grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False) - 1
        for m, one in zip(members, sampled.unbind(0), strict=True):
            crops[m] = one
    result = torch.stack(crops)
    if eight_bit:
        levels = ((result.detach() + 1) * 127.5).round() / 127.5 - 1
        result = result + (levels - result.detach())
    return result


def _working(frames: Tensor) -> torch.dtype:
    return torch.promote_types(frames.dtype, torch.float32)  # of uint8 it is float32


def _window(frame: Tensor, left: int, top: int, width: int, height: int) -> Tensor:
    """A window of frame [3, H, W], raised by 1 so that black is 0, and zero where it leaves the frame."""
    rows, columns = frame.shape[-2:]
    x0, x1 = min(max(left, 0), columns), min(max(left + width, 0), columns)
    y0, y1 = min(max(top, 0), rows), min(max(top + height, 0), rows)
    inside = frame[:, y0:y1, x0:x1]
    inside = inside / 127.5 if frame.dtype == torch.uint8 else inside.to(_working(frame)) + 1
    if inside.shape[-2:] == (height, width):
        return inside
    before_x, before_y = min(max(-left, 0), width), min(max(-top, 0), height)
    if inside.numel() == 0:  # wholly outside, keep the graph connected
        return inside.sum() + inside.new_zeros(frame.shape[0], height, width)
    return F.pad(inside, (before_x, width - before_x - (x1 - x0), before_y, height - before_y - (y1 - y0)))
