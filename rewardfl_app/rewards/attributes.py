"""What the further files of a face pack say of a face: 106 and 68 landmarks, head pose, age, sex; without gradient.

Crops, scaling and decoding are insightface's own (its classes `Landmark` and `Attribute`), batched over the faces. The
crop is upright, one and a half times the longer side of the box, so it is sampled row by row and column by column.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rewardfl_app.rewards import onnx_session
from rewardfl_app.rewards.onnx_graph import OnnxGraph, PackError
from rewardfl_app.rewards.onnx_session import OnnxSession

logger = logging.getLogger(__name__)

LANDMARKS_2D, LANDMARKS_3D, AGE_AND_SEX = "landmark_2d_106", "landmark_3d_68", "genderage"
TASKS = (LANDMARKS_2D, LANDMARKS_3D, AGE_AND_SEX)  # insightface's own names

_AROUND = 1.5  # side of the crop, in longer sides of the box
_FACES_AT_ONCE = 32
_FACES_OF_A_WORKER = 4


@dataclass(frozen=True)
class FaceAttributes:
    """One face; None where the pack has no file for it.

    `landmarks_106` [106, 2] and `landmarks_68` [68, 3] are pixels of the frame (the third axis is depth, to the same
    scale), float32 on the CPU. `pose` is pitch, yaw, roll in degrees, as insightface signs them: None also where
    insightface's mean face could not be read, and then the five landmarks are what is left to estimate it from.
    `age` is in years, `sex` "F" or "M".
    """

    landmarks_106: Tensor | None = None
    landmarks_68: Tensor | None = None
    pose: tuple[float, float, float] | None = None
    age: int | None = None
    sex: str | None = None


class AttributeNetwork(nn.Module):
    """One such ONNX file; `task` is insightface's name for what it does."""

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        self.graph = graph
        shape = graph.input_shapes[0] if graph.input_shapes else []
        if len(shape) != 4 or shape[2] not in (96, 192) or shape[2] != shape[3]:
            raise PackError(f"{graph.path}: landmarks take crops of 192 pixels, age and sex of 96; this file {shape}")
        if len(graph.output_names) != 1:
            raise PackError(f"{graph.path}: landmarks and age have one output, this file {len(graph.output_names)}")
        self.size: int = shape[2]
        names = graph.node_names[:8]
        inside = (
            any(n.startswith(("Sub", "_minus")) for n in names) and any(n.startswith(("Mul", "_mul")) for n in names)
        ) or "bn_data" in names[:3]
        self.mean, self.std = (0.0, 1.0) if inside else (127.5, 128.0)
        self._one_by_one = shape[0] == 1
        self._session = OnnxSession(graph.path)
        values = self._try_out()
        if self.size == 96:
            self.task = AGE_AND_SEX if values == 3 else f"attribute_{values}"
        else:
            self.task = LANDMARKS_3D if values == 3309 else f"landmark_2d_{values // 2}"

    def forward(self, crops: Tensor) -> Tensor:
        """Raw outputs [M, values] of RGB crops [M, 3, size, size] in levels 0..255."""
        inputs = ((crops - self.mean) / self.std).to(next(self.graph.buffers()))
        if not onnx_session.is_enough(self):
            return self._in_torch(inputs)
        parts = self._session.run(inputs, 1 if self._one_by_one else _FACES_OF_A_WORKER)
        return torch.cat([torch.from_numpy(outputs[0]).flatten(1) for outputs in parts])

    def _in_torch(self, inputs: Tensor) -> Tensor:
        if not self._one_by_one:
            return self.graph(inputs)[0].flatten(1)
        mapped: Tensor = torch.vmap(lambda one: self.graph(one[None])[0].flatten())(inputs)
        return mapped

    @torch.no_grad()
    def _try_out(self) -> int:
        blank = torch.zeros(2, 3, self.size, self.size)
        try:
            values = self._in_torch(blank)
            if values.shape[0] != 2 and not self._one_by_one:  # a free batch in name, fixed shapes inside
                self._one_by_one = True
                values = self._in_torch(blank)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise PackError(
                f"{self.graph.path}: the graph does not run on {self.size}-pixel crops ({error})"
            ) from error
        return int(values.shape[1])


class Attributes(nn.Module):
    """The attribute networks of a pack, at most one of each task; always in float32."""

    def __init__(self, networks: Sequence[AttributeNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict({network.task: network for network in networks})

    @property
    def paths(self) -> dict[str, Path]:
        """Task -> the file that does it."""
        return {task: network.graph.path for task, network in self.networks.items()}

    @torch.no_grad()
    def measure(self, frames: Tensor, frame_index: Tensor, boxes: Tensor) -> list[FaceAttributes]:
        """Each of M faces of frames [n, 3, H, W], RGB in [-1, 1] or uint8.

        `frame_index` [M] says which frame a face is in, `boxes` [M, 4 or more] are x0, y0, x1, y1 in pixels of it.
        """
        measured: list[FaceAttributes] = []
        for index, part in zip(frame_index.split(_FACES_AT_ONCE), boxes.split(_FACES_AT_ONCE), strict=True):
            measured += self._measure(frames, index, part) if len(part) else []
        return measured

    def _measure(self, frames: Tensor, frame_index: Tensor, boxes: Tensor) -> list[FaceAttributes]:
        found: list[dict[str, Any]] = [{} for _ in range(len(boxes))]
        crops: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for task, network in self.networks.items():
            size = int(network.size)
            if size not in crops:
                crops[size] = upright_crops(frames, frame_index, boxes, size)
            crop, scale, offset = crops[size]
            values = network(crop).float().cpu()
            if task == AGE_AND_SEX:
                for face, row in zip(found, values, strict=True):
                    face["sex"] = "M" if float(row[1]) > float(row[0]) else "F"
                    face["age"] = round(float(row[2] * 100)) if math.isfinite(float(row[2])) else None
                continue
            points = landmarks_of(values, size, scale, offset, 3 if task == LANDMARKS_3D else 2)
            for face, row in zip(found, points, strict=True):
                face["landmarks_68" if task == LANDMARKS_3D else "landmarks_106"] = row
            mean_face = _mean_face() if task == LANDMARKS_3D else None
            if mean_face is not None:
                for face, angles in zip(found, head_pose(points, mean_face).tolist(), strict=True):
                    face["pose"] = tuple(angles)
        return [FaceAttributes(**face) for face in found]


def upright_crops(frames: Tensor, frame_index: Tensor, boxes: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Crops [M, 3, size, size] around the boxes, in whole levels 0..255, black outside the frame.

    Also returns scale [M] and offset [M, 2] (float64, CPU): crop position = scale * frame position + offset.
    """
    # In float32 and in this order, as insightface computes them.
    box = boxes[:, :4].detach().float().cpu()
    centre = (box[:, 2:] + box[:, :2]) / 2
    side = (box[:, 2:] - box[:, :2]).amax(1).clamp_min(1e-3)
    scale = size / (side * _AROUND)
    offset = size / 2 - (centre * scale[:, None]).double()
    scale = scale.double()
    position = (torch.arange(size, dtype=torch.float64) - offset[:, :, None]) / scale[:, None, None]  # [M, 2, size]
    first = position.floor()
    fraction = (position - first).float()
    height, width = frames.shape[-2:]
    limit = torch.tensor([width, height])[None, :, None]
    index, device = frame_index.to(frames.device).long(), frames.device
    crop = torch.zeros(len(box), size, size, frames.shape[1], device=device)
    for down in (0, 1):
        for across in (0, 1):
            at = first.long() + torch.tensor([across, down])[None, :, None]
            weight = torch.where(torch.tensor([across, down])[None, :, None] == 1, fraction, 1 - fraction)
            weight = weight.masked_fill((at < 0) | (at >= limit), 0.0).to(device)
            at = torch.minimum(at.clamp_min(0), limit - 1).to(device)
            pixels = frames[index[:, None, None], :, at[:, 1, :, None], at[:, 0, None, :]]
            if frames.dtype != torch.uint8:
                pixels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round()
            crop += pixels * (weight[:, 1, :, None] * weight[:, 0, None, :])[..., None]
    return crop.round().permute(0, 3, 1, 2).contiguous(), scale, offset


def landmarks_of(values: Tensor, size: int, scale: Tensor, offset: Tensor, axes: int) -> Tensor:
    """Raw outputs [M, values] as landmarks [M, 68 or 106, axes] in pixels of the frame."""
    points = values.double().reshape(len(values), -1, axes)
    points = points[:, -68:] if axes == 3 else points
    flat = ((points[..., :2] + 1) * (size // 2) - offset[:, None]) / scale[:, None, None]
    if axes == 2:
        return flat.float()
    depth = points[..., 2:] * (size // 2) / scale[:, None, None]
    return torch.cat([flat, depth], -1).float()


def head_pose(landmarks: Tensor, mean_face: Tensor) -> Tensor:
    """Pitch, yaw and roll [M, 3] in degrees from landmarks [M, 68, 3] and insightface's mean face [68, 3].

    The affine map from the mean face to the landmarks is fitted by least squares; its first two rows, made unit, and
    their cross product are the rotation.
    """
    fixed = torch.cat([mean_face.double(), torch.ones(len(mean_face), 1, dtype=torch.float64)], 1)
    affine = (torch.linalg.pinv(fixed) @ landmarks.double()).transpose(1, 2)
    first, second = (nn.functional.normalize(affine[:, row, :3], dim=1) for row in (0, 1))
    third = torch.linalg.cross(first, second)
    level = torch.hypot(first[:, 0], second[:, 0])
    lost = level < 1e-6  # looking straight to the side: roll and pitch are one
    pitch = torch.where(lost, torch.atan2(-second[:, 2], second[:, 1]), torch.atan2(third[:, 1], third[:, 2]))
    yaw = torch.atan2(-third[:, 0], level)
    roll = torch.where(lost, torch.zeros_like(yaw), torch.atan2(second[:, 0], first[:, 0]))
    return torch.rad2deg(torch.stack([pitch, yaw, roll], 1))


@lru_cache(maxsize=1)
def _mean_face() -> Tensor | None:
    """The mean face [68, 3] that insightface ships and reads itself, None where it cannot be had."""
    try:
        from insightface.data import get_object

        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            points = np.asarray(get_object("meanshape_68.pkl"), np.float64)
    except (ImportError, OSError, ValueError, TypeError) as error:
        logger.warning("insightface's mean face cannot be read, head pose comes from five landmarks (%s)", error)
        return None
    if points.shape != (68, 3):
        logger.warning("insightface's mean face is not there, head pose comes from five landmarks")
        return None
    return torch.from_numpy(points)
