"""A face pack: a folder of ONNX files in insightface's layout (antelopev2, buffalo_*, the embedded pocket pack).

Which file does what is told by its inputs and outputs, by insightface's own rule and in its order: five outputs or more
are a detector; a square input of 192 pixels landmarks, of 96 pixels age and sex; of 112 pixels or more (multiple of 16)
with one input a recogniser. The first file of each kind counts, in the order of their names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import onnx
import torch
from torch import nn

from rewardfl_app.rewards.attributes import TASKS, AttributeNetwork, Attributes
from rewardfl_app.rewards.detector import FaceDetector
from rewardfl_app.rewards.onnx_graph import OnnxGraph, PackError, UnsupportedOperator, read_model
from rewardfl_app.rewards.recogniser import Recogniser

__all__ = ["FacePack", "PackError", "UnsupportedOperator", "load_pack", "load_recogniser"]

logger = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

_WITHOUT_LANDMARKS = "detector without landmarks"
_SIZES = "a recogniser takes 112 x 112 or 128 x 128 pixels, or a multiple of these"


@dataclass(frozen=True)
class FacePack:
    """A detector and a recogniser on one device, and what the pack's other files say of a face (None without any)."""

    folder: Path
    detector: FaceDetector
    recogniser: Recogniser
    device: torch.device
    attributes: Attributes | None = None


def load_pack(folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> FacePack:
    """Loads the networks of a folder; `PackError` names the file or what is absent.

    Landmark, age and sex networks stay in float32 and are extras: one that cannot be used is left out with a warning.
    """
    files = onnx_files(Path(folder))
    roles: dict[str, tuple[Path, onnx.ModelProto]] = {}
    extras: dict[str, AttributeNetwork] = {}
    kinds: list[str] = []
    for path in files:
        model = read_model(path)
        role = _role(model)
        kinds.append(f"{path.name}: {_described(model, role)}")
        if role == "attribute":
            network = _attribute_network(path, model)
            if network is not None and network.task in TASKS:
                extras.setdefault(network.task, network)
        else:
            roles.setdefault(role, (path, model))
    for role in ("detector", "recogniser"):
        if role not in roles:
            raise PackError(f"{folder}: no {role} among its ONNX files ({'; '.join(kinds)}); {_needed(role, roles)}")
    detector = _network(FaceDetector, *roles["detector"]).to(device, dtype)
    recogniser = _network(Recogniser, *roles["recogniser"]).to(device, dtype)
    attributes = Attributes(list(extras.values())).to(device) if extras else None
    return FacePack(Path(folder), detector, recogniser, torch.device(device), attributes)


def load_recogniser(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Recogniser:
    """Loads one recogniser from an ONNX file, or the recogniser of a folder."""
    files = [Path(path)] if Path(path).is_file() else onnx_files(Path(path))
    kinds: list[str] = []
    for file in files:
        model = read_model(file)
        role = _role(model)
        kinds.append(f"{file.name}: {_described(model, role)}")
        if role == "recogniser":
            return _network(Recogniser, file, model).to(device, dtype)
    if Path(path).is_file():
        raise PackError(f"{path}: not a recogniser but {kinds[0].partition(': ')[2]}; {_SIZES}")
    raise PackError(f"{path}: no recogniser among its ONNX files ({'; '.join(kinds)}); {_SIZES}")


def _attribute_network(path: Path, model: onnx.ModelProto) -> AttributeNetwork | None:
    try:
        return _network(AttributeNetwork, path, model)
    except PackError as error:
        logger.warning("left out of the pack: %s", error)
        return None


def _network(kind: Callable[[OnnxGraph], Network], path: Path, model: onnx.ModelProto) -> Network:
    """The network of a file, tried out once. Raises PackError."""
    try:
        return kind(OnnxGraph(path, model))
    except PackError:
        raise
    except Exception as error:  # a graph whose numbers do not fit can fail anywhere, in any of three libraries
        raise PackError(f"{path}: the graph cannot be run, the file is damaged ({error})") from error


def onnx_files(folder: Path) -> list[Path]:
    """The ONNX files of a folder by name; `PackError` says why there are none."""
    if not folder.exists():
        raise PackError(f"{folder}: no such folder")
    if not folder.is_dir():
        hint = "; unzip it and name the folder" if folder.suffix.lower() == ".zip" else ""
        raise PackError(f"{folder}: a file, where the folder with the face pack's ONNX files is needed{hint}")
    files = sorted(path for path in folder.glob("*.onnx") if path.is_file())
    if not files:
        inner = sorted({path.parent for path in folder.glob("*/*.onnx")})
        zipped = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".zip")
        hint = f"; did you mean {inner[0]}?" if inner else f"; unzip {zipped[0]} first" if zipped else ""
        raise PackError(f"{folder}: holds no .onnx file{hint}")
    return files


def _role(model: onnx.ModelProto) -> str:
    outputs = len(model.graph.output)
    if outputs >= 5:
        return _WITHOUT_LANDMARKS if outputs in (6, 10) else "detector"
    sides = _input_sides(model)
    if sides in ([192, 192], [96, 96]):
        return "attribute"
    square = len(sides) == 2 and sides[0] == sides[1] and sides[0] >= 112 and sides[0] % 16 == 0
    return "recogniser" if square and len(_inputs(model)) == 1 else "other"


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _input_sides(model: onnx.ModelProto) -> list[int]:
    """Height and width of the first input, 0 where the file leaves them free, nothing where it takes no image."""
    inputs = _inputs(model)
    shape = [int(d.dim_value) for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    return shape[2:] if len(shape) == 4 else []


def _described(model: onnx.ModelProto, role: str) -> str:
    if role == "attribute":
        return "landmarks or age"
    if role != "other":
        return f"a {role}"
    sides, inputs = _input_sides(model), len(_inputs(model))
    if inputs != 1 or not sides:
        return f"{inputs} inputs" if inputs != 1 else "takes no image"
    return f"input of {' x '.join(str(side) if side > 0 else 'any' for side in sides)} pixels"


def _needed(role: str, roles: dict[str, tuple[Path, onnx.ModelProto]]) -> str:
    if role == "recogniser":
        return _SIZES
    if _WITHOUT_LANDMARKS in roles:
        return "take the detector whose file gives landmarks, such as scrfd_10g_bnkps.onnx or det_10g.onnx"
    return "a detector is an SCRFD file with 9 or 15 outputs, such as scrfd_10g_bnkps.onnx or det_10g.onnx"
