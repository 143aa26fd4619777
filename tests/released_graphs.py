"""Small networks with the layout of the released files: scrfd_10g, glintr100 and w600k_r50, w600k_mbf."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from face_graphs import ResidualBlock, named_by_an_old_exporter, shaken
from torch import Tensor, nn

from rewardfl_app.rewards.alignment import TEMPLATE

OPSET = 11  # of the released files


class DownBlock(nn.Module):
    """The block of scrfd_10g's backbone: two convolutions, and a shortcut that averages before it widens."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inside, outside, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(inside, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class SCRFD10G(nn.Module):
    """Deep stem, residual backbone, a pyramid down and up again, a head per stride; 2 anchors, strides 8 to 32.

    `groups` normalises the heads by groups (scrfd_10g) instead of by batch (scrfd_10g_bnkps); `landmarks` False leaves
    the last three of the nine outputs away; `batched` gives [N, rows, values], otherwise the rows of one frame.
    """

    def __init__(self, batched: bool = False, groups: bool = False, landmarks: bool = True) -> None:
        super().__init__()
        self.batched, self.values = batched, (1, 4, 10) if landmarks else (1, 4)
        stem: list[nn.Module] = []
        for inside, outside, stride in ((3, 8, 2), (8, 8, 1), (8, 12, 1)):
            stem += [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))
        widths = (12, 16, 16, 20)
        self.stages = nn.ModuleList(DownBlock(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.lateral = nn.ModuleList(nn.Conv2d(width, 16, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(nn.Conv2d(16, 16, 3, 1, 1) for _ in range(3))
        self.upward = nn.ModuleList(nn.Conv2d(16, 16, 3, 2, 1) for _ in range(2))
        self.towers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.GroupNorm(4, 16) if groups else nn.BatchNorm2d(16), nn.ReLU()
            )
            for _ in range(3)
        )
        self.heads = nn.ModuleList(nn.ModuleList(nn.Conv2d(16, 2 * k, 3, 1, 1) for k in self.values) for _ in range(3))
        self.scales = nn.Parameter(torch.tensor([0.8, 1.0, 1.2]))

    def maps(self, x: Tensor) -> list[Tensor]:
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        maps = [lateral(m) for lateral, m in zip(self.lateral, found, strict=True)]
        for i in (2, 1):
            maps[i - 1] = maps[i - 1] + F.interpolate(maps[i], size=maps[i - 1].shape[2:], mode="nearest")
        maps = [smooth(m) for smooth, m in zip(self.smooth, maps, strict=True)]
        for i in (0, 1):
            maps[i + 1] = maps[i + 1] + self.upward[i](maps[i])
        return [tower(m) for tower, m in zip(self.towers, maps, strict=True)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps, outputs = self.maps(x), []
        for place, values in enumerate(self.values):
            for level, feature in enumerate(maps):
                out = self.heads[level][place](feature)
                if values == 4:
                    out = (out * self.scales[level]).abs() + 2
                if self.batched:
                    out = out.permute(0, 2, 3, 1).reshape(out.shape[0], -1, values)
                else:
                    out = out.permute(2, 3, 0, 1).reshape(-1, values)
                outputs.append(out.sigmoid() if values == 1 else out)
        return tuple(outputs)


class IResNet(nn.Module):
    """glintr100 and w600k_r50: IResNet blocks, BatchNorm, flatten, Gemm, BatchNorm over the embedding."""

    def __init__(self, size: int = 112) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.layers = nn.Sequential(*(ResidualBlock(a, b) for a, b in ((8, 8), (8, 12), (12, 16), (16, 16))))
        self.last = nn.BatchNorm2d(16)
        self.dropout = nn.Dropout(0.4)
        self.fc = nn.Linear(16 * (size // 16) ** 2, 64)
        self.features = nn.BatchNorm1d(64)

    def before_last(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.dropout(self.last(self.layers(self.stem(x)))), 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(self.before_last(x))


class MobileFaceNet(nn.Module):
    """w600k_mbf: depthwise bottlenecks with PReLU, a 7 x 7 depthwise convolution for a head."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8)]
        for inside, outside in ((8, 16), (16, 16), (16, 24)):
            parts += [nn.Conv2d(inside, 2 * inside, 1, bias=False), nn.BatchNorm2d(2 * inside), nn.PReLU(2 * inside)]
            parts += [nn.Conv2d(2 * inside, 2 * inside, 3, 2, 1, groups=2 * inside, bias=False)]
            parts += [nn.BatchNorm2d(2 * inside), nn.PReLU(2 * inside), nn.Conv2d(2 * inside, outside, 1, bias=False)]
            parts += [nn.BatchNorm2d(outside)]
        self.body = nn.Sequential(*parts)
        self.whole = nn.Sequential(nn.Conv2d(24, 24, 7, groups=24, bias=False), nn.BatchNorm2d(24), nn.Flatten())
        self.fc = nn.Linear(24, 64)
        self.features = nn.BatchNorm1d(64)

    def before_last(self, x: Tensor) -> Tensor:
        return self.fc(self.whole(self.body(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(self.before_last(x))


class Normalising(nn.Module):
    """Takes whole pixel values, as the files do whose first nodes are Sub and Mul."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner((x - 127.5) * 0.0078125)


def save(module: nn.Module, shape: tuple[int, ...], path: Path, axes: dict[str, Any] | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(shape),), str(path), input_names=["input.1"], opset_version=OPSET, dynamic_axes=axes,
            dynamo=False,
        )  # fmt: skip
    return path


def scrfd_10g_file(
    path: Path, seed: int = 0, batched: bool = False, groups: bool = False, landmarks: bool = True, canvas: int = 0
) -> Path:
    """A detector whose random scores spread, and whose landmarks lie like those of an upright face.

    `canvas` fixes the side of its input.
    """
    torch.manual_seed(seed)
    module = shaken(SCRFD10G(batched, groups, landmarks), seed)
    face = (torch.tensor(TEMPLATE) - 56) / 112 * 8  # in strides around the anchor
    with torch.no_grad():
        for head in module.heads:
            head[0].weight *= 6
            if landmarks:
                head[2].bias.copy_(face.flatten().repeat(2))
    free = {2: "height", 3: "width"}
    axes = None if canvas else {"input.1": {0: "batch", **free} if batched else free}
    return save(module, (1, 3, canvas or 64, canvas or 64), path, axes)


def embedder_file(
    path: Path,
    kind: str = "iresnet",
    seed: int = 0,
    size: int = 112,
    normalises: bool = False,
    batch: int | None = None,
) -> Path:
    """A recogniser whose last normalisation is fitted to varied inputs, so that its embeddings differ."""
    torch.manual_seed(seed)
    module = shaken(IResNet(size) if kind == "iresnet" else MobileFaceNet(), seed)
    seen = F.interpolate(torch.rand(32, 3, 7, 7), (size, size), mode="bicubic") * 2 - 1
    with torch.no_grad():
        module.fc.weight /= module.before_last(seen).std(0)[:, None]
        features = module.before_last(seen)
    module.features.running_mean, module.features.running_var = features.mean(0), features.var(0)
    axes = {"input.1": {0: "batch"}} if batch is None else None
    save(Normalising(module) if normalises else module, (batch or 1, 3, size, size), path, axes)
    return named_by_an_old_exporter(path) if normalises else path
