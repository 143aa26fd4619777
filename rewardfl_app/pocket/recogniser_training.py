"""Trains the pocket recogniser and the judge: ArcFace-format embeddings by contrast over unlimited drawn identities."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardfl_app.pocket.face_pool import FacePool
from rewardfl_app.pocket.hardware import device
from rewardfl_app.pocket.optimizer import MuonAdamW
from rewardfl_app.pocket.progress import Progress
from rewardfl_app.rewards import alignment

log = logging.getLogger(__name__)

TEMPERATURE = 0.07


class _Unit(nn.Module):
    """The IResNet unit: BN, conv, BN, PReLU, strided conv, BN, beside a projected shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class RecogniserNet(nn.Module):
    """A small IResNet, the shape of glintr100: crops [M, 3, 112, 112] in [-1, 1] to embeddings [M, 128]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 40, 64, 96)
        layers: list[nn.Module] = [nn.Conv2d(3, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.PReLU(24)]
        inputs = 24
        for width in widths:
            layers += [_Unit(inputs, width, 2), _Unit(width, width, 1)]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.BatchNorm2d(96), nn.Flatten(), nn.Linear(96 * 16, 128), nn.BatchNorm1d(128))

    def forward(self, crops: Tensor) -> Tensor:
        return self.head(self.features(crops))


class JudgeNet(nn.Module):
    """The judge: plain strided convolutions, leaky ReLU and average pooling, nothing in common with the recogniser."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, kernel, stride in (
            (32, 5, 2),
            (48, 3, 2),
            (64, 3, 1),
            (64, 3, 2),
            (96, 3, 1),
            (96, 3, 2),
            (128, 3, 1),
        ):
            layers += [
                nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.LeakyReLU(0.1),
            ]
            inputs = outputs
        self.features = nn.Sequential(*layers, nn.AvgPool2d(2, 2, ceil_mode=False))
        self.head = nn.Linear(128 * 9, 96)

    def forward(self, crops: Tensor) -> Tensor:
        return self.head(self.features(crops).flatten(1))


def aligned(images: Tensor, landmarks: Tensor, size: int = 112) -> Tensor:
    """Crops [M, 3, size, size] of images [M, 3, H, W] in [-1, 1], one face each, by landmarks [M, 5, 2]."""
    back = alignment.inverse(alignment.similarity_transforms(landmarks, size)).to(images.dtype)
    axis = torch.arange(size, dtype=images.dtype)
    pixels = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    points = torch.einsum("mij,yxj->myxi", back[:, :, :2], pixels) + back[:, None, None, :, 2]
    extent = torch.tensor([images.shape[3], images.shape[2]], dtype=images.dtype)
    return F.grid_sample(images + 1, (2 * points + 1) / extent - 1, padding_mode="zeros", align_corners=False) - 1


def degrade(images: Tensor, rng: np.random.Generator) -> Tensor:
    """What decoded videos look like: some of the batch softened, noisy, or with shifted colours; [B, 3, H, W]."""
    size = images.shape[-1]
    soft = F.interpolate(
        F.interpolate(images, size=int(rng.uniform(0.45, 0.9) * size), mode="area"), size=size, mode="bilinear"
    )
    blurred = torch.from_numpy(rng.random(len(images)) < 0.5)[:, None, None, None]
    images = torch.where(blurred, soft, images)
    gain = torch.from_numpy(rng.normal(1, 0.06, (len(images), 3, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.normal(0, 0.05, (len(images), 3, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 1, images.shape).astype(np.float32)) * float(rng.uniform(0, 0.06))
    return images * gain + shift + noise


def _views(pool: FacePool, rng: np.random.Generator, families: np.ndarray) -> Tensor:
    """Two views of both members of some families, as crops [2, 2 * families, 3, 112, 112]."""
    views = np.stack([rng.choice(pool.images.shape[2], 2, replace=False) for _ in range(2 * len(families))])
    images, landmarks = [], []
    for view in (0, 1):
        for number, family in enumerate(np.repeat(families, 2)):
            index = (family, number % 2, views[number, view])
            images.append(pool.images[index])
            landmarks.append(pool.landmarks[index])
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    points = np.stack(landmarks) + rng.normal(0, 0.5, (len(landmarks), 5, 2))
    crops = aligned(degrade(pixels, rng), torch.from_numpy(points))
    return crops.unflatten(0, (2, -1))


def train(
    net: nn.Module, pool: FacePool, path: Path, num_steps: int, num_families: int = 48, seed: int = 0
) -> nn.Module:
    """InfoNCE between two views; everybody else in the batch, the look-alike above all, is a negative."""
    torch.manual_seed(seed)
    net = net.to(device(), memory_format=torch.channels_last)
    optimizer = MuonAdamW(net, 2e-3, 2e-3, weight_decay=0.02)
    progress = Progress(path, num_steps, {"net": net, "optimizer": optimizer})
    for step in progress:
        rng = np.random.default_rng((seed, step))
        crops = _views(pool, rng, rng.choice(len(pool.images), num_families, replace=False))
        crops = crops.flatten(0, 1).to(device()).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device(), dtype=torch.bfloat16):
            embeddings = F.normalize(net(crops).float(), dim=-1)
        first, second = embeddings.chunk(2)
        logits = first @ second.T / TEMPERATURE
        target = torch.arange(len(first), device=first.device)
        loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.scale_rates(progress.warm_then_decay(step))
        optimizer.step()
        if step % 25 == 0:
            log.info("%s %d: loss %.3f", path.stem, step, loss.item())
    return net.eval()


@torch.no_grad()
def verification(net: nn.Module, pool: FacePool, num_families: int = 200) -> dict[str, float]:
    """Same and different similarity, and the share of true pairs accepted at one false accept in 1,000."""
    rng = np.random.default_rng(99)
    net = net.eval()
    groups = np.array_split(np.arange(num_families), max(num_families // 50, 1))
    embeddings = [
        F.normalize(net(_views(pool, rng, group).flatten(0, 1).to(device())), dim=-1).cpu().chunk(2) for group in groups
    ]
    first, second = (torch.cat([pair[i] for pair in embeddings]) for i in (0, 1))
    scores = first @ second.T
    people = torch.arange(len(first))
    strangers = people[:, None] // 2 != people[None] // 2
    same, different, siblings = scores.diagonal(), scores[strangers], scores[people, people ^ 1]
    threshold = torch.quantile(different[torch.randperm(len(different))[:1_000_000]], 0.999)
    return {
        "same": same.mean().item(),
        "different": different.mean().item(),
        "sibling": siblings.mean().item(),
        "tar_at_far_1e-3": (same > threshold).float().mean().item(),
    }


def export(net: nn.Module, path: Path) -> None:
    """Write the ONNX file insightface loads: input [N, 3, 112, 112] RGB in [-1, 1], one output [N, D]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    net = net.eval().to("cpu", memory_format=torch.contiguous_format)
    torch.onnx.export(
        net,
        (torch.zeros(1, 3, 112, 112),),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["input.1"],
        output_names=["embedding"],
        dynamic_axes={"input.1": {0: "batch"}, "embedding": {0: "batch"}},
    )
