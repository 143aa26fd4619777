from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from face_graphs import detector_file
from onnx import helper, numpy_helper

from rewardfl_app.rewards.onnx_rewrite import merge_sibling_convolutions


def _outputs(model: onnx.ModelProto, inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})


def _count(model: onnx.ModelProto, operator: str) -> int:
    return sum(node.op_type == operator for node in model.graph.node)


def test_the_heads_of_a_detector_become_one_convolution_each_and_give_the_same(tmp_path: Path) -> None:
    model = onnx.load(str(detector_file(tmp_path / "det.onnx")))
    before = model.SerializeToString()
    merged = merge_sibling_convolutions(model)
    onnx.checker.check_model(merged)
    assert model.SerializeToString() == before, "the model itself is left as it is"
    assert _count(merged, "Conv") == _count(model, "Conv") - 6 and _count(merged, "Split") == 3
    inputs = np.random.default_rng(0).normal(size=(1, 3, 96, 160)).astype(np.float32)
    for ours, theirs in zip(_outputs(merged, inputs), _outputs(model, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-6)


def _siblings(opset: int, biases: tuple[bool, bool], kernels: tuple[int, int], groups: int = 1) -> onnx.ModelProto:
    generator = np.random.default_rng(1)
    constants, nodes = [], []
    for n, (bias, kernel) in enumerate(zip(biases, kernels, strict=True)):
        shape = (4 * (n + 1), 4 // groups, kernel, kernel)
        constants.append(numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), f"w{n}"))
        names = ["x", f"w{n}"]
        if bias:
            constants.append(numpy_helper.from_array(generator.normal(size=shape[:1]).astype(np.float32), f"b{n}"))
            names.append(f"b{n}")
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", names, [f"y{n}"], name=f"conv{n}", pads=pads, group=groups))
    value = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "siblings",
        [helper.make_tensor_value_info("x", value, [1, 4, "h", "w"])],
        [helper.make_tensor_value_info(f"y{n}", value, [1, 4 * (n + 1), "h", "w"]) for n in range(2)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("bias", [True, False])
def test_with_and_without_bias_in_old_and_new_files(opset: int, bias: bool) -> None:
    model = _siblings(opset, (bias, bias), (3, 3))
    merged = merge_sibling_convolutions(model)
    assert _count(merged, "Conv") == 1
    inputs = np.random.default_rng(2).normal(size=(1, 4, 9, 7)).astype(np.float32)
    for ours, theirs in zip(_outputs(merged, inputs), _outputs(model, inputs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [_siblings(17, (True, False), (3, 3)), _siblings(17, (True, True), (3, 1)), _siblings(17, (True, True), (3, 3), 2)],
)
def test_what_differs_in_form_stays_apart(model: onnx.ModelProto) -> None:
    assert _count(merge_sibling_convolutions(model), "Conv") == 2
