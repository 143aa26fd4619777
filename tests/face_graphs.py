"""Small networks of exactly the real formats, exported to ONNX by the tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def shaken(module: Any, seed: int) -> Any:
    """Gives the normalisations statistics and slopes that matter."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.BatchNorm1d)):
            part.running_mean = torch.randn(part.num_features, generator=generator) * 0.2
            part.running_var = torch.rand(part.num_features, generator=generator) + 0.5
            part.weight.data = torch.rand(part.num_features, generator=generator) + 0.5
            part.bias.data = torch.randn(part.num_features, generator=generator) * 0.2
        if isinstance(part, nn.PReLU):
            part.weight.data = torch.rand(part.num_parameters, generator=generator) * 0.5
    return module.eval()


class ResidualBlock(nn.Module):
    """The block of IResNet (glintr100): BN, conv, BN, PReLU, conv, BN, and a shortcut."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inside),
            nn.Conv2d(inside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.PReLU(outside),
            nn.Conv2d(outside, outside, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, 2, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class SmallIResNet(nn.Module):
    def __init__(self, normalises: bool = False) -> None:
        super().__init__()
        self.normalises = normalises
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.blocks = nn.Sequential(
            ResidualBlock(8, 8), ResidualBlock(8, 12), ResidualBlock(12, 16), ResidualBlock(16, 16)
        )
        self.head = nn.Sequential(
            nn.BatchNorm2d(16), nn.Dropout(0.4), nn.Flatten(), nn.Linear(16 * 49, 32), nn.BatchNorm1d(32)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.normalises:
            x = (x - 127.5) * (1 / 127.5)
        return self.head(self.blocks(self.stem(x)))


class SmallSCRFD(nn.Module):
    """Feature pyramid with shared heads; `batched` gives [N, rows, k], otherwise rows of one frame."""

    def __init__(self, levels: int = 3, anchors: int = 2, batched: bool = False) -> None:
        super().__init__()
        self.anchors, self.batched, width = anchors, batched, 8
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()
        )
        self.down = nn.ModuleList(nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()) for _ in range(levels))
        self.lateral = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(levels))
        self.heads = nn.ModuleList(nn.Conv2d(width, anchors * k, 3, 1, 1) for k in (1, 4, 10))
        self.scales = nn.Parameter(torch.linspace(0.8, 1.2, levels))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x, maps = self.stem(x), []
        for down in self.down:
            x = down(x)
            maps.append(x)
        maps = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + F.interpolate(maps[i], size=maps[i - 1].shape[2:], mode="nearest")
        outputs: list[Tensor] = []
        for head, values in zip(self.heads, (1, 4, 10), strict=True):
            for level, feature in enumerate(maps):
                out = head(feature)
                if values == 4:
                    out = (out * self.scales[level]).abs() + 1
                out = out.permute(0, 2, 3, 1).reshape(out.shape[0], -1, values) if self.batched else out.permute(
                    2, 3, 0, 1
                ).reshape(-1, values)  # fmt: skip
                outputs.append(out.sigmoid() if values == 1 else out)
        return tuple(outputs)


class SmallMobileNet(nn.Module):
    """The kind of 2d106det and genderage: depthwise blocks with BatchNorm and PReLU, then one Gemm."""

    def __init__(self, side: int, values: int, normalises: bool = False) -> None:
        super().__init__()
        self.normalises = normalises
        parts: list[nn.Module] = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8)]
        for inside, outside in ((8, 12), (12, 16), (16, 16)):
            parts += [nn.Conv2d(inside, inside, 3, 2, 1, groups=inside, bias=False), nn.BatchNorm2d(inside)]
            parts += [nn.PReLU(inside), nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside)]
            parts += [nn.PReLU(outside)]
        self.body = nn.Sequential(*parts)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(16 * (side // 16) ** 2, values))

    def forward(self, x: Tensor) -> Tensor:
        if self.normalises:
            x = (x - 127.5) * 0.0078125
        return self.head(self.body(x))


class SmallResNet(nn.Module):
    """The kind of 1k3d68: BatchNorm on the pixels, residual blocks, global average, one Gemm to 1103 points."""

    def __init__(self, values: int = 3309) -> None:
        super().__init__()
        self.data = nn.BatchNorm2d(3)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(ResidualBlock(8, 12), ResidualBlock(12, 16), ResidualBlock(16, 16))
        self.head = nn.Linear(16, values)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.pool(self.stem(self.data(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def export(module: nn.Module, shape: tuple[int, ...], path: Path, dynamic: dict[int, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    outputs = module(torch.zeros(shape))
    names = [f"out{i}" for i in range(len(outputs) if isinstance(outputs, tuple) else 1)]
    axes: dict[str, dict[int, str]] | None = None
    if dynamic is not None:
        axes = {
            "input.1": dynamic,
            **({n: {0: "rows"} for n in names} if 2 in dynamic else {n: {0: "batch"} for n in names}),
        }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.zeros(shape),), str(path), input_names=["input.1"], output_names=names, opset_version=17,
            dynamic_axes=axes, dynamo=False,
        )  # fmt: skip
    return path


def recogniser_file(path: Path, seed: int = 0, normalises: bool = False, fixed_batch: bool = False) -> Path:
    torch.manual_seed(seed)
    module = shaken(SmallIResNet(normalises), seed)
    # The last normalisation is fitted to varied inputs, or the embeddings of random weights would all look alike.
    last, seen = module.head[-1], F.interpolate(torch.rand(32, 3, 7, 7), (112, 112), mode="bicubic") * 2 - 1
    with torch.no_grad():
        features = nn.Sequential(module.stem, module.blocks, module.head[:-1])(seen)
    last.running_mean, last.running_var = features.mean(0), features.var(0)
    export(module, (1, 3, 112, 112), path, None if fixed_batch else {0: "batch"})
    return named_by_an_old_exporter(path) if normalises else path


def detector_file(path: Path, seed: int = 0, levels: int = 3, anchors: int = 2, batched: bool = False) -> Path:
    torch.manual_seed(seed)
    module = SmallSCRFD(levels, anchors, batched)
    for parameter in module.stem.parameters():  # stronger features, so that scores spread around the threshold
        parameter.data *= 3
    with torch.no_grad():
        module.heads[0].weight *= 12
    side = 8 * 2 ** (levels - 1)
    free = {2: "h", 3: "w"}
    return export(shaken(module, seed), (1, 3, 2 * side, 2 * side), path, {0: "batch", **free} if batched else free)


def pack_folder(folder: Path) -> Path:
    detector_file(folder / "det.onnx")
    recogniser_file(folder / "rec.onnx")
    return folder


def landmark_file(path: Path, seed: int = 0, normalises: bool = False, fixed_batch: bool = False) -> Path:
    """192 x 192 to 106 landmarks, as 2d106det."""
    torch.manual_seed(seed)
    module = shaken(SmallMobileNet(192, 212, normalises), seed)
    module.head[1].weight.data *= 0.05
    export(module, (1, 3, 192, 192), path, None if fixed_batch else {0: "batch"})
    return named_by_an_old_exporter(path) if normalises else path


def landmark_3d_file(path: Path, seed: int = 0) -> Path:
    """192 x 192 to 1103 points with depth, of which the last 68 count, as 1k3d68; it normalises its own pixels."""
    torch.manual_seed(seed)
    module = shaken(SmallResNet(), seed)
    module.data.running_mean, module.data.running_var = torch.full((3,), 127.5), torch.full((3,), 128.0**2)
    module.head.weight.data *= 0.2
    export(module, (1, 3, 192, 192), path, {0: "batch"})
    model = onnx.load(str(path))
    model.graph.node[0].name = "bn_data"
    onnx.save(model, str(path))
    return path


def age_file(path: Path, seed: int = 0) -> Path:
    """96 x 96 to two scores of the sex and the age in centuries, as genderage."""
    torch.manual_seed(seed)
    module = shaken(SmallMobileNet(96, 3), seed)
    linear = module.head[1]
    linear.weight.data *= 60
    with torch.no_grad():  # so that ages and sexes differ from face to face
        seen = F.interpolate(torch.rand(32, 3, 6, 6), (96, 96), mode="bicubic") * 2 - 1
        linear.bias -= module(seen).mean(0) - torch.tensor([0.0, 0.0, 0.4])
    return export(module, (1, 3, 96, 96), path, {0: "batch"})


def named_by_an_old_exporter(path: Path) -> Path:
    """insightface tells normalisation inside the graph by the names that older exporters gave."""
    model = onnx.load(str(path))
    for node in model.graph.node:
        if node.op_type in ("Sub", "Mul"):
            node.name = f"{node.op_type}_0"
    onnx.save(model, str(path))
    return path
