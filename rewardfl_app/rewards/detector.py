"""The detector: SCRFD decoded and suppressed as insightface does, but over a batch of frames.

It carries no gradient: it runs in torch on the device of the video, on a CPU by ONNX Runtime. A graph written for one
frame (fixed batch, outputs flattened to rows) is mapped over the frames by `torch.vmap`, so that the whole batch still
runs in one call and each frame gets exactly what it would get alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rewardfl_app.rewards import onnx_session
from rewardfl_app.rewards.onnx_graph import OnnxGraph, PackError
from rewardfl_app.rewards.onnx_rewrite import merge_sibling_convolutions
from rewardfl_app.rewards.onnx_session import OnnxSession

Array = np.ndarray[Any, Any]

_STRIDES = {9: (8, 16, 32), 15: (8, 16, 32, 64, 128)}  # number of outputs -> strides of the feature maps
_LARGEST_CANVAS = 4096  # pixels of a side
_PIXELS_AT_ONCE = 16 * 640 * 640  # frames are detected in chunks of about this many pixels, so memory is bounded
# Of the black beside a frame only so much is computed, in pixels. Measured on 185 real frames at canvases of 640 and
# 320 (SCRFD 500M): with 160 every embedding is that of the whole canvas (cosine 1.000000), with 128 at least 0.99999,
# with 96 two equal detections changed places once (0.52).
_BLACK_MARGIN = 160


@dataclass(frozen=True)
class Faces:
    """The faces of one frame, best score first, in pixels of the frame.

    `boxes` [M, 5]: x0, y0, x1, y1, score. `landmarks` [M, 5, 2]: x, y of eyes, nose, mouth corners. Both on the CPU,
    float32.
    """

    boxes: Tensor
    landmarks: Tensor

    def __len__(self) -> int:
        return int(self.boxes.shape[0])

    @property
    def areas(self) -> Tensor:
        """Box areas [M] in square pixels."""
        return (self.boxes[:, 2] - self.boxes[:, 0]) * (self.boxes[:, 3] - self.boxes[:, 1])


class FaceDetector(nn.Module):
    """A SCRFD-format ONNX file with landmarks (9 outputs: strides 8 to 32, or 15: strides 8 to 128)."""

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        self.graph = graph
        if len(graph.output_names) not in _STRIDES:
            kind = "detector without landmarks" if len(graph.output_names) in (6, 10) else "not a SCRFD detector"
            raise PackError(f"{graph.path}: {kind} ({len(graph.output_names)} outputs; 9 or 15 are needed)")
        self.strides = _STRIDES[len(graph.output_names)]
        self._num_values = [count for count in (1, 4, 10) for _ in self.strides]
        self._session = OnnxSession(graph.path, merge_sibling_convolutions)
        shape = graph.input_shapes[0]
        self.fixed_size = (shape[3], shape[2]) if len(shape) == 4 and shape[2] and shape[3] else None
        if self.fixed_size and max(self.fixed_size) > _LARGEST_CANVAS:
            raise PackError(
                f"{graph.path}: the detector takes {shape[3]} x {shape[2]} pixels, at most {_LARGEST_CANVAS}"
            )
        self._try_out()

    @property
    def path(self) -> Path:
        return self.graph.path

    @torch.no_grad()
    def detect(
        self, frames: Tensor, det_size: int | tuple[int, int] = 640, threshold: float = 0.5, nms: float = 0.4
    ) -> list[Faces]:
        """The faces of each of N frames [N, 3, H, W], RGB in [-1, 1] (clamped here; no gradient) or uint8.

        Frames keep their aspect in a canvas of `det_size` (width, height), black below and to the right. A graph with a
        fixed input size uses that instead, as in insightface.
        """
        size = self.canvas(det_size)
        margin = (_BLACK_MARGIN, self.strides[-1]) if self.graph.is_local and not self.fixed_size else None

        def look(part: Tensor) -> list[Faces]:
            canvas, scale = fit(part, size, margin)
            return self.decode(canvas, scale, threshold, nms)

        if onnx_session.is_enough(self):
            return [faces for (faces,) in self._session.map(look, frames.detach().cpu().split(1))]
        parts = frames.detach().split(max(1, _PIXELS_AT_ONCE // (size[0] * size[1])))
        return [faces for part in parts for faces in look(part)]

    def canvas(self, det_size: int | tuple[int, int]) -> tuple[int, int]:
        """Width and height of the detector's input."""
        if self.fixed_size is not None:
            return self.fixed_size
        size = (det_size, det_size) if isinstance(det_size, int) else (int(det_size[0]), int(det_size[1]))
        if any(side < 1 or side % self.strides[-1] for side in size):
            raise ValueError(f"det_size {size[0]} x {size[1]} is not a multiple of {self.strides[-1]}")
        return size

    def decode(
        self, inputs: Tensor, scale: float, threshold: float, nms: float, overlap_offset: float = 1.0
    ) -> list[Faces]:
        """Faces of the graph's own inputs [N, 3, h, w]; coordinates are divided by `scale`."""
        height, width = inputs.shape[-2:]
        found = []
        for frame in self._maps(inputs):
            parts = [
                _above(threshold, frame[k :: len(self.strides)], height // stride, width // stride, stride)
                for k, stride in enumerate(self.strides)
            ]
            found.append(_suppress(np.concatenate(parts), scale, nms, overlap_offset))
        return found

    def _maps(self, inputs: Tensor) -> list[list[Array]]:
        """The raw outputs of each frame, each [rows, values]."""
        if onnx_session.is_enough(self):
            outputs = self._session.run(inputs.float())
            return [[o.reshape(-1, v) for o, v in zip(one, self._num_values, strict=True)] for one in outputs]
        maps = [out.float().cpu().numpy() for out in self._maps_in_torch(inputs.to(next(self.graph.buffers())))]
        return [list(frame) for frame in zip(*maps, strict=True)]

    def _maps_in_torch(self, inputs: Tensor) -> list[Tensor]:
        def one(frame: Tensor) -> tuple[Tensor, ...]:
            return tuple(o.reshape(-1, v) for o, v in zip(self.graph(frame[None]), self._num_values, strict=True))

        return list(torch.vmap(one)(inputs))

    def _try_out(self) -> None:
        size = self.fixed_size or (self.strides[-1] * 2, self.strides[-1] * 2)
        try:
            with torch.no_grad():
                maps = self._maps_in_torch(torch.zeros(1, 3, size[1], size[0]))
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise PackError(f"{self.path}: the graph does not run as a SCRFD detector ({error})") from error
        for level, stride in enumerate(self.strides):
            rows = {maps[level + part * len(self.strides)].shape[1] for part in range(3)}
            cells = (size[0] // stride) * (size[1] // stride)
            if len(rows) != 1 or rows.pop() % cells:
                raise PackError(f"{self.path}: the outputs of stride {stride} do not match a map of {cells} cells")


def fit(frames: Tensor, size: tuple[int, int], margin: tuple[int, int] | None = None) -> tuple[Tensor, float]:
    """Frames as insightface feeds them: (pixel - 127.5) / 128 on a black canvas, and the scale frame -> canvas.

    Frames that are not uint8 are rounded to 8 bit first, as they are when insightface reads an image. With a `margin`
    (pixels, step), black that lies farther than so many pixels from the frame is left out, to a multiple of the step.
    """
    height, width = frames.shape[-2:]
    new_height, new_width = fitted(height, width, size)
    columns, rows = size
    if margin is not None:
        columns = min(columns, -(-(new_width + margin[0]) // margin[1]) * margin[1])
        rows = min(rows, -(-(new_height + margin[0]) // margin[1]) * margin[1])
    canvas = frames.new_empty((len(frames), 3, rows, columns), dtype=torch.float32)
    canvas[:, :, new_height:] = canvas[:, :, :, new_width:] = -127.5 / 128
    for frame, target in zip(frames, canvas, strict=True):  # one after the other: each stays in the cache
        if frame.dtype != torch.uint8:
            frame = frame.float().mul(127.5).add_(127.5).round_().clamp_(0, 255)
        if (new_height, new_width) != (height, width):
            frame = _resize(frame[None], new_height, new_width)[0]
        target[:, :new_height, :new_width].copy_(frame).sub_(127.5).div_(128)
    return canvas, new_height / height


def _resize(pixels: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resize of whole pixel values [N, 3, H, W], to the last bit as OpenCV resizes 8-bit images.

    OpenCV works in fixed point (weights of 11 bits, shifts that round down), and a detector notices: float arithmetic
    moves boxes by up to 0.2 pixels.
    """
    left, right, low, high = _taps(pixels.shape[-1], width, pixels.device)
    image = pixels.to(torch.int32)
    rows = (image.index_select(3, left) * low + image.index_select(3, right) * high) >> 4
    top, bottom, low, high = _taps(pixels.shape[-2], height, pixels.device)
    above = (rows.index_select(2, top) * low[:, None]) >> 16
    below = (rows.index_select(2, bottom) * high[:, None]) >> 16
    return (above + below + 2) >> 2


def _taps(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each target pixel its two source pixels and their weights of 11 bits."""
    position = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    first = position.floor()
    fraction = (position - first).float()
    fraction[(first < 0) | (first >= source - 1)] = 0.0
    first = first.long().clamp(0, source - 1)
    low, high = ((weight * 2048).round().to(torch.int32).to(device) for weight in (1 - fraction, fraction))
    return first.to(device), (first + 1).clamp_max(source - 1).to(device), low, high


def fitted(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a frame that is fitted into `size` (width, height) with its aspect kept."""
    if height / width > size[1] / size[0]:
        return size[1], max(1, int(size[1] / (height / width)))
    return max(1, int(size[0] * (height / width))), size[0]


def _above(threshold: float, maps: Sequence[Array], rows: int, columns: int, stride: int) -> Array:
    """Score, 4 distances, 10 landmark offsets and centre, in pixels of the canvas, of one level's likely anchors."""
    scores, distances, offsets = maps
    anchor = np.flatnonzero(scores[:, 0] >= threshold)
    cell = anchor // (len(scores) // (rows * columns))
    centre = np.stack([cell % columns, cell // columns], 1) * stride
    return np.concatenate([scores[anchor], distances[anchor] * stride, offsets[anchor] * stride, centre], 1)


def _suppress(table: Array, scale: float, nms: float, offset: float) -> Faces:
    """Rows of score, 4 distances, 10 landmark offsets, centre -> the faces that no better box overlaps."""
    table = table[np.argsort(-table[:, 0], kind="stable")]
    centre = table[:, 15:17]
    corners = np.concatenate([centre - table[:, 1:3], centre + table[:, 3:5]], 1) / scale
    landmarks = (table[:, 5:15].reshape(-1, 5, 2) + centre[:, None]) / scale
    kept = non_maximum(corners, nms, offset)
    boxes = np.concatenate([corners, table[:, :1]], 1)[kept]
    return Faces(torch.from_numpy(boxes.astype(np.float32)), torch.from_numpy(landmarks[kept].astype(np.float32)))


def non_maximum(corners: Array, threshold: float, offset: float = 1.0) -> list[int]:
    """Greedy suppression of boxes [M, 4] that come best first.

    `offset` 1 counts pixels inclusively, as insightface does.
    """
    x0, y0, x1, y1 = corners.T
    areas = (x1 - x0 + offset) * (y1 - y0 + offset)
    order = np.arange(len(corners))
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        width = np.minimum(x1[best], x1[order]) - np.maximum(x0[best], x0[order]) + offset
        height = np.minimum(y1[best], y1[order]) - np.maximum(y0[best], y0[order]) + offset
        shared = np.maximum(0.0, width) * np.maximum(0.0, height)
        order = order[shared / (areas[best] + areas[order] - shared) <= threshold]
    return kept
