"""ONNX files of a face pack, damaged in their bytes and in every number of their graph: only PackError comes out."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

import hostile
import numpy as np
import onnx
import pytest
import torch
from budget import Tally, drawn
from damage import Cut, cuts, damaged
from guard import guarded
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from rewardfl_app.rewards import pack
from rewardfl_app.rewards.onnx_graph import PackError

torch.set_num_threads(1)
SIZES = (-1, 0, 1, 3, 7, 2**31 - 1, 2**62)
_STRIDES = (8, 16, 32)


def recogniser() -> onnx.ModelProto:
    """112 x 112 pixels to eight numbers: normalisation, convolution, batch normalisation, reshape, product."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(4, 3, 16, 16)) * 0.1,
        **{name: np.ones(4) for name in ("scale", "shift", "mean", "var")},
        "m": random.normal(size=(4 * 49, 8)) * 0.1,
        "half": np.full((), 0.5),
    }
    nodes = [
        helper.make_node("Mul", ["x", "half"], ["h"], "Mul_1"),
        helper.make_node("Conv", ["h", "w"], ["a"], "Conv_2", strides=[16, 16], kernel_shape=[16, 16]),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"], "Batch_3"),
        helper.make_node("Constant", [], ["shape"], "Shape_4", value=numpy_helper.from_array(np.array([-1, 196]))),
        helper.make_node("Reshape", ["b", "shape"], ["r"], "Reshape_5"),
        helper.make_node("MatMul", ["r", "m"], ["y"], "MatMul_6"),
    ]
    return _model(nodes, weights, ["N", 3, 112, 112], [("y", ["N", 8])])


def detector() -> onnx.ModelProto:
    """The nine maps of an SCRFD detector, each by one convolution."""
    random, weights, nodes, outputs = np.random.default_rng(0), {}, [], []
    for values in (1, 4, 10):
        for stride in _STRIDES:
            name = f"{values}_{stride}"
            weights[f"w{name}"] = random.normal(size=(2 * values, 3, stride, stride)) * 0.01
            nodes += [
                helper.make_node(
                    "Conv", ["x", f"w{name}"], [f"c{name}"], strides=[stride] * 2, kernel_shape=[stride] * 2
                ),
                helper.make_node("Transpose", [f"c{name}"], [f"t{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t{name}", f"s{values}"], [f"y{name}"]),
            ]
            outputs.append((f"y{name}", ["N", values]))
    model = _model(nodes, weights, [1, 3, "H", "W"], outputs)
    for values in (1, 4, 10):
        model.graph.initializer.append(numpy_helper.from_array(np.array([-1, values]), f"s{values}"))
    return model


def _model(nodes: list, weights: dict, shape: list, outputs: list) -> onnx.ModelProto:  # type: ignore[type-arg]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, form) for name, form in outputs],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pack of both networks, which loads and sees."""
    onnx.save(detector(), tmp_path / "det.onnx")
    onnx.save(recogniser(), tmp_path / "rec.onnx")
    look(tmp_path)
    assert pack.load_pack(tmp_path).recogniser.embedding_size == 8
    return tmp_path


def look(folder: Path) -> None:
    """Everything that reads a pack; only PackError may come out, also when it is used."""
    with contextlib.suppress(PackError):
        loaded = pack.load_pack(folder)
        with torch.no_grad():
            loaded.recogniser(torch.zeros(1, 3, loaded.recogniser.size, loaded.recogniser.size))
            loaded.detector.detect(torch.zeros(1, 3, 64, 64), det_size=64)
    for path in (folder / "rec.onnx", folder):
        with contextlib.suppress(PackError):
            pack.load_recogniser(path)


@pytest.mark.parametrize("kind", hostile.ODD_FILES)
@pytest.mark.parametrize("name", ["det.onnx", "rec.onnx"])
def test_packs_with_what_is_no_file(name: str, kind: str, folder: Path) -> None:
    (folder / name).unlink()
    hostile.ODD_FILES[kind](folder / name)
    with guarded(folder):
        look(folder)
        with pytest.raises(PackError):
            pack.load_pack(folder)


def test_texts_that_are_no_pack(folder: Path) -> None:
    for text in hostile.TEXTS:
        (folder / "rec.onnx").write_bytes(text)
        with guarded(folder):
            look(folder)
            with pytest.raises(PackError, match="rec.onnx"):
                pack.load_recogniser(folder / "rec.onnx")


def test_damaged_packs(folder: Path) -> None:
    wholes = {name: (folder / name).read_bytes() for name in ("det.onnx", "rec.onnx")}
    ran = Tally("face pack")

    @drawn("face pack")
    @given(st.sampled_from(sorted(wholes)), cuts(64))
    def case(name: str, by: list[Cut]) -> None:
        ran.one()
        (folder / name).write_bytes(damaged(wholes[name], by))
        with guarded(folder):
            look(folder)
        (folder / name).write_bytes(wholes[name])

    case()
    ran.check()


def _graphs() -> Iterator[onnx.ModelProto]:
    """A recogniser with each number and name of its graph another."""
    whole = recogniser()
    for size in SIZES:
        for place in range(4):
            model = copy.deepcopy(whole)
            model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
            yield model
        for number, node in enumerate(whole.graph.node):
            for index, attribute in enumerate(node.attribute):
                model = copy.deepcopy(whole)
                changed = model.graph.node[number].attribute[index]
                if attribute.ints:
                    changed.ints[0] = size
                elif attribute.HasField("t"):
                    changed.t.CopyFrom(numpy_helper.from_array(np.array([-1, size])))
                yield model
        for number, tensor in enumerate(whole.graph.initializer):
            if tensor.dims:
                model = copy.deepcopy(whole)
                model.graph.initializer[number].dims[0] = size
                yield model
        for operator, shape in (("ConstantOfShape", [size, size]), ("Expand", [size, 4]), ("Tile", [size])):
            model = copy.deepcopy(whole)  # weights that are computed when the file is read
            made = numpy_helper.from_array(np.array(shape, np.int64), "made_shape")
            model.graph.initializer.append(made)
            inputs = ["made_shape"] if operator == "ConstantOfShape" else ["scale", "made_shape"]
            model.graph.node.insert(0, helper.make_node(operator, inputs, ["made"], "made"))
            yield model
    for name in ("", "nothing", "x" * 10_000, "y"):
        for number, node in enumerate(whole.graph.node):
            for index in range(len(node.input)):
                model = copy.deepcopy(whole)
                model.graph.node[number].input[index] = name
                yield model
            model = copy.deepcopy(whole)
            model.graph.node[number].output[0] = name
            yield model
            for kind in ("Loop", "If", "Range", "Cast", "Resize", "Gather", name):
                model = copy.deepcopy(whole)
                model.graph.node[number].op_type = kind
                yield model


def test_graphs_with_every_number_and_name_hostile(folder: Path) -> None:
    for model in _graphs():
        (folder / "rec.onnx").write_bytes(model.SerializeToString())
        with guarded(folder), contextlib.suppress(PackError):
            loaded = pack.load_recogniser(folder / "rec.onnx")
            with torch.no_grad():
                loaded(torch.zeros(1, 3, loaded.size, loaded.size))


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "pipe", ".", "weights\0", "/dev/zero"])
def test_weights_in_another_file_lie_beside_it(location: str, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"\x01" * 4096)
    hostile.ODD_FILES["a pipe"](folder / "pipe")
    model = recogniser()
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == "scale")
    onnx.external_data_helper.set_external_data(tensor, location, length=16)
    tensor.ClearField("raw_data")
    (folder / "rec.onnx").write_bytes(model.SerializeToString())
    with guarded(folder), pytest.raises(PackError, match=r"rec\.onnx"):
        pack.load_recogniser(folder / "rec.onnx")
