"""A face pack: a folder of ONNX files in insightface's layout (antelopev2, buffalo_*, the embedded pocket pack).

Which file does what is told by its inputs and outputs, by insightface's own rule: five outputs or more is a detector;
a square input of 112 pixels or more (multiple of 16) with one output a recogniser. Other files (age, further
landmarks) are not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from rewardfl_app.rewards.detector import FaceDetector
from rewardfl_app.rewards.onnx_graph import OnnxGraph, PackError, UnsupportedOperator, read_model
from rewardfl_app.rewards.recogniser import Recogniser

__all__ = ["FacePack", "PackError", "UnsupportedOperator", "load_pack", "load_recogniser"]


@dataclass(frozen=True)
class FacePack:
    """A detector and a recogniser on one device."""

    folder: Path
    detector: FaceDetector
    recogniser: Recogniser
    device: torch.device


def load_pack(folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> FacePack:
    """Loads the detector and the recogniser of a folder; `PackError` names the file or what is absent."""
    files = _onnx_files(Path(folder))
    roles: dict[str, tuple[Path, onnx.ModelProto]] = {}
    for path in files:
        model = read_model(path)
        # insightface keeps the first file of each kind, in the order of their names.
        roles.setdefault(_role(model), (path, model))
    for role in ("detector", "recogniser"):
        if role not in roles:
            names = ", ".join(path.name for path in files)
            raise PackError(f"{folder}: no {role} among its ONNX files ({names})")
    detector = FaceDetector(OnnxGraph(*roles["detector"])).to(device, dtype)
    recogniser = Recogniser(OnnxGraph(*roles["recogniser"])).to(device, dtype)
    return FacePack(Path(folder), detector, recogniser, torch.device(device))


def load_recogniser(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Recogniser:
    """Loads one recogniser from an ONNX file, or the recogniser of a folder."""
    files = [Path(path)] if Path(path).is_file() else _onnx_files(Path(path))
    for file in files:
        model = read_model(file)
        if len(files) == 1 or _role(model) == "recogniser":
            return Recogniser(OnnxGraph(file, model)).to(device, dtype)
    raise PackError(f"{path}: no recogniser among its ONNX files ({', '.join(f.name for f in files)})")


def _onnx_files(folder: Path) -> list[Path]:
    if not folder.exists():
        raise PackError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise PackError(f"{folder}: a file, where the folder with the face pack's ONNX files is needed")
    files = sorted(folder.glob("*.onnx"))
    if not files:
        inner = sorted({path.parent for path in folder.glob("*/*.onnx")})
        hint = f"; did you mean {inner[0]}?" if inner else ""
        raise PackError(f"{folder}: holds no .onnx file{hint}")
    return files


def _role(model: onnx.ModelProto) -> str:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(model.graph.output) >= 5:
        return "detector"
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) == 1 and len(shape) == 4 and shape[2] == shape[3] and shape[2] >= 112 and shape[2] % 16 == 0:
        # 192 is insightface's landmark models, which are square too.
        return "recogniser" if shape[2] != 192 else "other"
    return "other"
