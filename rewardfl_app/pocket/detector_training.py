"""Trains the pocket detector: SCRFD format, three strides, two anchors a cell, box and five keypoints."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardfl_app.pocket.face_pool import FacePool
from rewardfl_app.pocket.hardware import device
from rewardfl_app.pocket.optimizer import MuonAdamW
from rewardfl_app.pocket.progress import Progress
from rewardfl_app.pocket.recogniser_training import degrade

log = logging.getLogger(__name__)

STRIDES = (8, 16, 32)
NUM_ANCHORS = 2
CANVAS = 128
_LARGEST = (24.0, 56.0, 1e9)  # a face goes to the first stride whose limit (pixels, root of the box area) it is below


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class DetectorNet(nn.Module):
    """Images [N, 3, H, W], (pixel - 127.5) / 128 RGB, sides multiples of 32, to scores, boxes and keypoints."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_block(3, 16, 2), _block(16, 24, 2), _block(24, 32, 1))
        self.stages = nn.ModuleList(
            [
                nn.Sequential(_block(32, 48, 2), _block(48, 48, 1), _block(48, 48, 1)),
                nn.Sequential(_block(48, 64, 2), _block(64, 64, 1), _block(64, 64, 1)),
                nn.Sequential(_block(64, 64, 2), _block(64, 64, 1)),
            ]
        )
        self.heads = nn.ModuleList([nn.Conv2d(width, NUM_ANCHORS * 15, 3, 1, 1) for width in (48, 64, 64)])
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, 0.0)
            head.bias.data[:NUM_ANCHORS] = -4.0

    def maps(self, images: Tensor) -> list[Tensor]:
        """One map [N, anchors * 15, H / stride, W / stride] a stride: scores (logits), boxes, keypoints."""
        x = self.stem(images)
        maps = []
        for stage, head in zip(self.stages, self.heads, strict=True):
            x = stage(x)
            maps.append(head(x))
        return maps

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """SCRFD's nine outputs: scores [N*cells*2, 1] for each stride, then boxes [.., 4], then keypoints [.., 10]."""
        outputs: tuple[list[Tensor], ...] = ([], [], [])
        for level in self.maps(images):
            start = 0
            for group, width in zip(outputs, (1, 4, 10), strict=True):
                part = level[:, start : start + NUM_ANCHORS * width].permute(0, 2, 3, 1).reshape(-1, width)
                group.append(part.sigmoid() if width == 1 else part)
                start += NUM_ANCHORS * width
        return tuple(outputs[0] + outputs[1] + outputs[2])


@dataclass(frozen=True)
class Scenes:
    """Canvases [B, 3, S, S] in [-1, 1] and the faces on each: boxes [4] and landmarks [5, 2] in pixels."""

    images: Tensor
    faces: list[list[tuple[np.ndarray, np.ndarray]]]


def sample_scenes(pool: FacePool, rng: np.random.Generator, num_scenes: int, size: int = CANVAS) -> Scenes:
    """Canvases with no face (shuffled pieces of portraits), one face at many scales, or two side by side."""
    canvases, faces = [], []
    for _ in range(num_scenes):
        top, bottom = rng.uniform(-1, 1, (2, 3, 1, 1))
        ramp = np.linspace(0, 1, size)[None, :, None]
        canvas = torch.from_numpy((top * (1 - ramp) + bottom * ramp).astype(np.float32)).repeat(1, 1, size)
        found: list[tuple[np.ndarray, np.ndarray]] = []
        kind = rng.choice(["none", "one", "two"], p=[0.12, 0.63, 0.25])
        for place in range(2 if kind == "two" else 1):
            index = (rng.integers(len(pool.images)), rng.integers(2), rng.integers(pool.images.shape[2]))
            source = torch.from_numpy(np.array(pool.images[index])).permute(2, 0, 1).float()[None] / 127.5 - 1
            side = (
                int(rng.uniform(0.42, 0.5) * size)
                if kind == "two"
                else int(size * rng.choice([rng.uniform(0.35, 0.8), 0.5, 0.75, 1.0]))
            )
            picture = F.interpolate(source, size=side, mode="bilinear", antialias=True, align_corners=False)[0]
            if kind == "none":
                picture = _shuffled(picture, rng)
            x = place * (size // 2) if kind == "two" else rng.integers(size - side + 1)
            y = rng.integers(size - side + 1)
            canvas[:, y : y + side, x : x + side] = picture
            if kind != "none":
                scale, shift = side / source.shape[-1], np.array([x, y], np.float32)
                box = (pool.boxes[index] + 0.5) * scale - 0.5 + np.tile(shift, 2)
                found.append((box, (pool.landmarks[index] + 0.5) * scale - 0.5 + shift))
        if rng.random() < 0.5:
            canvas, found = canvas.flip(2), [_mirrored(*face, size) for face in found]
        canvases.append(canvas)
        faces.append(found)
    return Scenes(degrade(torch.stack(canvases), rng).clamp(-1, 1), faces)


def _mirrored(box: np.ndarray, landmarks: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    points = landmarks[[1, 0, 2, 4, 3]] * np.array([-1, 1], np.float32) + np.array([size - 1, 0], np.float32)
    return np.array([size - 1 - box[2], box[1], size - 1 - box[0], box[3]], np.float32), points


def _shuffled(picture: Tensor, rng: np.random.Generator) -> Tensor:
    """The picture cut into tiles of about a quarter of its side, in random order: colours of a face, but no face."""
    tile = max(picture.shape[-1] // 5, 1)
    count = picture.shape[-1] // tile
    tiles = picture[:, : count * tile, : count * tile].unfold(1, tile, tile).unfold(2, tile, tile).flatten(1, 2)
    tiles = tiles[:, torch.from_numpy(rng.permutation(count * count))].unflatten(1, (count, count))
    out = picture.clone()
    out[:, : count * tile, : count * tile] = tiles.permute(0, 1, 3, 2, 4).reshape(3, count * tile, count * tile)
    return out


def _targets(scenes: Scenes, stride: int, level: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores [N, h, w] (1, 0, or -1 = not counted), box distances [.., 4] and keypoint offsets [.., 10] in strides."""
    cells = scenes.images.shape[-1] // stride
    axis = np.arange(cells) * stride
    x, y = np.meshgrid(axis, axis)
    score = np.zeros((len(scenes.faces), cells, cells), np.float32)
    boxes, points = np.zeros((*score.shape, 4), np.float32), np.zeros((*score.shape, 10), np.float32)
    for number, faces in enumerate(scenes.faces):
        for box, landmarks in faces:
            size = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
            own = next(i for i, limit in enumerate(_LARGEST) if size < limit)
            distance = np.maximum(np.abs(x - (box[0] + box[2]) / 2), np.abs(y - (box[1] + box[3]) / 2))
            near = distance <= max(0.16 * size, 0.55 * stride)
            score[number][(distance < 0.45 * size) & (score[number] == 0)] = -1
            if own != level:
                continue
            score[number][near] = 1
            boxes[number][near] = np.stack([x - box[0], y - box[1], box[2] - x, box[3] - y], -1)[near] / stride
            offsets = landmarks[None, None] - np.stack([x, y], -1)[:, :, None]
            points[number][near] = offsets.reshape(cells, cells, 10)[near] / stride
    return torch.from_numpy(score), torch.from_numpy(boxes), torch.from_numpy(points)


def _loss(net: DetectorNet, scenes: Scenes) -> Tensor:
    inputs = (scenes.images * (127.5 / 128)).to(device()).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device(), dtype=torch.bfloat16):
        maps = net.maps(inputs)
    loss = torch.zeros((), device=inputs.device)
    for level, (stride, output) in enumerate(zip(STRIDES, maps, strict=True)):
        score, boxes, points = (part.to(device()) for part in _targets(scenes, stride, level))
        output = output.float().permute(0, 2, 3, 1)
        logits = output[..., :NUM_ANCHORS]
        target = score.clamp(min=0)[..., None].expand_as(logits)
        focal = (
            F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            * (target - logits.sigmoid()).abs() ** 1.5
        )
        count = max(float((score > 0).sum()), 1.0) * NUM_ANCHORS
        loss = loss + (focal * (score >= 0)[..., None]).sum() / count
        near = score > 0
        if near.any():
            box = output[..., NUM_ANCHORS : NUM_ANCHORS * 5][near].unflatten(-1, (NUM_ANCHORS, 4))
            keypoints = output[..., NUM_ANCHORS * 5 :][near].unflatten(-1, (NUM_ANCHORS, 10))
            loss = loss + 0.5 * F.smooth_l1_loss(box, boxes[near][:, None].expand_as(box), beta=0.1)
            loss = loss + 2.0 * F.smooth_l1_loss(keypoints, points[near][:, None].expand_as(keypoints), beta=0.1)
    return loss


def train(pool: FacePool, path: Path, num_steps: int = 1200, num_scenes: int = 16) -> DetectorNet:
    """Train (or go on training) the detector; its state is at `path`."""
    torch.manual_seed(11)
    net = DetectorNet().to(device(), memory_format=torch.channels_last)
    optimizer = MuonAdamW(net, 2e-3, 2e-3, weight_decay=0.01)
    progress = Progress(path, num_steps, {"net": net, "optimizer": optimizer})
    for step in progress:
        loss = _loss(net, sample_scenes(pool, np.random.default_rng((11, step)), num_scenes))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.scale_rates(progress.warm_then_decay(step))
        optimizer.step()
        if step % 25 == 0:
            log.info("detector %d: loss %.3f", step, loss.item())
    return net.eval()


def export(net: DetectorNet, path: Path) -> None:
    """Write the ONNX file in SCRFD's format: input [1, 3, H, W] of any size that is a multiple of 32, nine outputs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    net = net.eval().to("cpu", memory_format=torch.contiguous_format)
    torch.onnx.export(
        net,
        (torch.zeros(1, 3, CANVAS, CANVAS),),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["input.1"],
        output_names=names,
        dynamic_axes={"input.1": {2: "height", 3: "width"}, **{name: {0: "anchors"} for name in names}},
    )
