"""ONNX graphs as torch modules, operator by operator against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rewardfl_app.rewards.onnx_graph import OnnxGraph, PackError, UnsupportedOperator

_RNG = np.random.default_rng(0)


def _random(*shape: int) -> np.ndarray:
    return _RNG.standard_normal(shape).astype(np.float32)


def _write(path: Path, nodes: list[Any], weights: dict[str, np.ndarray], opset: int = 17) -> Path:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()
    )
    return path


def _compare(path: Path, x: np.ndarray, tolerance: float = 1e-5) -> OnnxGraph:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x})[0]
    graph = OnnxGraph(path)
    got = graph(torch.from_numpy(x))[0]
    assert list(got.shape) == list(expected.shape)
    np.testing.assert_allclose(got.numpy(), expected, rtol=tolerance, atol=tolerance)
    return graph


def _n(kind: str, inputs: list[str], output: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, [output], name=f"{kind}_{output}", **attributes)


IMAGE = _random(2, 4, 9, 8)
I64 = np.int64
CASES: dict[str, tuple[list[Any], dict[str, np.ndarray], np.ndarray]] = {
    "relu": ([_n("Relu", ["x"])], {}, IMAGE),
    "leaky": ([_n("LeakyRelu", ["x"], alpha=0.2)], {}, IMAGE),
    "prelu": ([_n("PRelu", ["x", "s"])], {"s": _random(4, 1, 1)}, IMAGE),
    "prelu_full": ([_n("PRelu", ["x", "s"])], {"s": _random(4, 9, 8)}, IMAGE),
    "sigmoid": ([_n("Sigmoid", ["x"])], {}, IMAGE),
    "clip": ([_n("Clip", ["x", "a", "b"])], {"a": np.float32(-0.5), "b": np.float32(0.6)}, IMAGE),
    "clip_low": ([_n("Clip", ["x", "a"])], {"a": np.float32(0)}, IMAGE),
    "hardsigmoid": ([_n("HardSigmoid", ["x"], alpha=1 / 6, beta=0.5)], {}, IMAGE),
    "hardswish": ([_n("HardSwish", ["x"])], {}, IMAGE),
    "arithmetic": (
        [_n("Add", ["x", "w"], "a"), _n("Mul", ["a", "x"], "b"), _n("Sub", ["b", "w"], "c"), _n("Div", ["c", "k"])],
        {"w": _random(4, 1, 1), "k": np.float32(2.5)}, IMAGE,
    ),
    "power": ([_n("Pow", ["x", "two"], "a"), _n("Sqrt", ["a"], "b"), _n("Exp", ["b"])], {"two": np.float32(2)}, IMAGE),
    "variadic": (
        [_n("Sum", ["x", "w", "w"], "a"), _n("Max", ["a", "x", "k"], "b"), _n("Min", ["b", "w"])],
        {"w": _random(4, 1, 1), "k": np.float32(0.1)}, IMAGE,
    ),
    "logic": (
        [
            _n("GreaterOrEqual", ["x", "k"], "a"), _n("LessOrEqual", ["x", "w"], "b"), _n("And", ["a", "b"], "c"),
            _n("Less", ["x", "m"], "d"), _n("Or", ["c", "d"], "e"), _n("Where", ["e", "x", "k"]),
        ],
        {"w": _random(4, 1, 1), "k": np.float32(0), "m": np.float32(-1)}, IMAGE,
    ),
    "matmul": ([_n("MatMul", ["x", "w"])], {"w": _random(8, 5)}, IMAGE),
    "gemm": ([_n("Gemm", ["x", "w", "c"], transB=1)], {"w": _random(5, 8), "c": _random(5)}, _random(3, 8)),
    "gemm_scaled": (
        [_n("Gemm", ["x", "w", "c"], alpha=0.5, beta=2.0)], {"w": _random(8, 5), "c": _random(1, 5)}, _random(3, 8),
    ),
    "conv": (
        [_n("Conv", ["x", "w", "b"], strides=[2, 1], pads=[1, 1, 1, 1], dilations=[1, 2], kernel_shape=[3, 3])],
        {"w": _random(6, 4, 3, 3), "b": _random(6)}, IMAGE,
    ),
    "conv_uneven": ([_n("Conv", ["x", "w"], pads=[0, 1, 2, 1])], {"w": _random(6, 4, 3, 3)}, IMAGE),
    "conv_same": ([_n("Conv", ["x", "w"], auto_pad="SAME_UPPER", strides=[2, 2])], {"w": _random(6, 4, 3, 3)}, IMAGE),
    "depthwise": ([_n("Conv", ["x", "w"], group=4, pads=[1, 1, 1, 1])], {"w": _random(4, 1, 3, 3)}, IMAGE),
    "transposed": (
        [_n("ConvTranspose", ["x", "w"], strides=[2, 2], pads=[1, 1, 1, 1])], {"w": _random(4, 3, 4, 4)}, IMAGE,
    ),
    "batchnorm": (
        [_n("BatchNormalization", ["x", "s", "b", "m", "v"], epsilon=1e-3)],
        {"s": _random(4), "b": _random(4), "m": _random(4), "v": np.abs(_random(4)) + 0.1}, IMAGE,
    ),
    "maxpool": ([_n("MaxPool", ["x"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}, IMAGE),
    "maxpool_ceil": ([_n("MaxPool", ["x"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], {}, IMAGE),
    "averagepool": ([_n("AveragePool", ["x"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}, IMAGE),
    "averagepool_pad": (
        [_n("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 0], count_include_pad=1)],
        {}, IMAGE,
    ),
    "global": ([_n("GlobalAveragePool", ["x"], "a"), _n("Flatten", ["a"])], {}, IMAGE),
    "softmax": ([_n("Softmax", ["x"], axis=1)], {}, IMAGE),
    "flatten": ([_n("Flatten", ["x"], axis=2)], {}, IMAGE),
    "transpose": ([_n("Transpose", ["x"], perm=[2, 3, 0, 1])], {}, IMAGE),
    "reshape_zero": ([_n("Reshape", ["x", "s"])], {"s": np.array([0, -1, 8], I64)}, IMAGE),
    "shape_of_input": (
        [
            _n("Shape", ["x"], "s"), _n("Gather", ["s", "zero"], "n"), _n("Unsqueeze", ["n", "axis"], "n1"),
            _n("Concat", ["n1", "rest"], "t", axis=0), _n("Reshape", ["x", "t"]),
        ],
        {"zero": np.array(0, I64), "axis": np.array([0], I64), "rest": np.array([-1], I64)}, IMAGE,
    ),
    "slice": (
        [_n("Slice", ["x", "s", "e", "a", "t"])],
        {
            "s": np.array([1, -1], I64), "e": np.array([3, -9], I64),
            "a": np.array([1, 3], I64), "t": np.array([1, -2], I64),
        },
        IMAGE,
    ),
    "concat_pad": (
        [_n("Concat", ["x", "x"], "c", axis=1), _n("Pad", ["c", "p", "v"])],
        {"p": np.array([0, 0, 1, 0, 0, 0, 0, 2], I64), "v": np.float32(0.5)}, IMAGE,
    ),
    "squeeze": (
        [_n("Unsqueeze", ["x", "a"], "u"), _n("Squeeze", ["u", "a"])], {"a": np.array([1], I64)}, IMAGE,
    ),
    "resize_nearest": (
        [
            _n("Resize", ["x", "", "k"], mode="nearest", coordinate_transformation_mode="asymmetric",
               nearest_mode="floor"),
        ],
        {"k": np.array([1, 1, 2, 2], np.float32)}, IMAGE,
    ),
    "resize_half_pixel": (
        [_n("Resize", ["x", "", "k"], mode="nearest", coordinate_transformation_mode="half_pixel")],
        {"k": np.array([1, 1, 3, 2], np.float32)}, IMAGE,
    ),
    "resize_linear": (
        [_n("Resize", ["x", "", "", "n"], mode="linear", coordinate_transformation_mode="half_pixel")],
        {"n": np.array([2, 4, 18, 5], I64)}, IMAGE,
    ),
    "resize_corners": (
        [_n("Resize", ["x", "", "", "n"], mode="linear", coordinate_transformation_mode="align_corners")],
        {"n": np.array([2, 4, 5, 16], I64)}, IMAGE,
    ),
    "reduce_mean": ([_n("ReduceMean", ["x"], axes=[2, 3], keepdims=0)], {}, IMAGE),
    "reduce_sum": ([_n("ReduceSum", ["x", "a"])], {"a": np.array([1], I64)}, IMAGE),
    "reduce_l2": ([_n("ReduceL2", ["x"], "l", axes=[1], keepdims=1), _n("Div", ["x", "l"])], {}, IMAGE),
    "constants": (
        [
            helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.array([2], I64))),
            _n("ConstantOfShape", ["k"], "o", value=numpy_helper.from_array(np.array([3], np.float32))),
            _n("ReduceSum", ["o"], "t"), _n("Cast", ["t"], "f", to=TensorProto.FLOAT),
            _n("Mul", ["x", "f"], "m"), _n("Dropout", ["m"], "d"), _n("Identity", ["d"]),
        ],
        {}, IMAGE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operator_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    nodes, weights, x = CASES[name]
    _compare(_write(tmp_path / "g.onnx", nodes, {k: np.asarray(v) for k, v in weights.items()}), x)


def test_split_gives_every_output(tmp_path: Path) -> None:
    nodes = [helper.make_node("Split", ["x", "n"], ["a", "b"], axis=1), _n("Mul", ["a", "b"])]
    _compare(_write(tmp_path / "g.onnx", nodes, {"n": np.array([2, 2], I64)}), IMAGE)


def test_upsample_of_old_files(tmp_path: Path) -> None:
    nodes = [_n("Upsample", ["x", "k"], mode="nearest")]
    _compare(_write(tmp_path / "g.onnx", nodes, {"k": np.array([1, 1, 2, 2], np.float32)}, opset=9), IMAGE)


def test_batch_norm_is_folded_into_the_convolution(tmp_path: Path) -> None:
    nodes = [_n("Conv", ["x", "w"], "c"), _n("BatchNormalization", ["c", "s", "b", "m", "v"], "n"), _n("Relu", ["n"])]
    weights = {
        "w": _random(6, 4, 3, 3),
        "s": _random(6),
        "b": _random(6),
        "m": _random(6),
        "v": np.abs(_random(6)) + 0.1,
    }
    graph = _compare(_write(tmp_path / "g.onnx", nodes, weights), IMAGE)
    assert sum(buffer.numel() for buffer in graph.buffers()) == 6 * 4 * 9 + 6


def test_batch_norm_that_reads_a_shared_convolution_is_kept(tmp_path: Path) -> None:
    nodes = [
        _n("Conv", ["x", "w"], "c"), _n("BatchNormalization", ["c", "s", "b", "m", "v"], "n"), _n("Add", ["c", "n"]),
    ]  # fmt: skip
    weights = {
        "w": _random(6, 4, 3, 3),
        "s": _random(6),
        "b": _random(6),
        "m": _random(6),
        "v": np.abs(_random(6)) + 0.1,
    }
    _compare(_write(tmp_path / "g.onnx", nodes, weights), IMAGE)


def test_gradients_reach_the_input_and_no_weight(tmp_path: Path) -> None:
    nodes = [_n("Conv", ["x", "w"], "c"), _n("Relu", ["c"])]
    graph = OnnxGraph(_write(tmp_path / "g.onnx", nodes, {"w": _random(6, 4, 3, 3)}))
    x = torch.from_numpy(IMAGE[:1, :, :4, :4]).double().requires_grad_()
    assert not list(graph.parameters()) and not any(buffer.requires_grad for buffer in graph.buffers())
    assert torch.autograd.gradcheck(lambda v: graph.double()(v)[0].sum(), x, atol=1e-6)


def _of_torch(weight: np.ndarray, **options: Any) -> Any:
    return lambda x: torch.nn.functional.conv2d(x, torch.from_numpy(weight).to(x), **options)


@pytest.mark.parametrize(
    ("attributes", "weight", "options"),
    [
        ({"pads": [1, 1, 1, 1]}, (6, 4, 3, 3), {"padding": 1}),
        ({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (6, 4, 3, 3), {"padding": 1, "stride": 2}),
        ({"strides": [3, 2]}, (6, 4, 1, 1), {"stride": (3, 2)}),
        ({"pads": [2, 1, 2, 1], "dilations": [2, 1]}, (6, 4, 3, 3), {"padding": (2, 1), "dilation": (2, 1)}),
        ({"pads": [1, 1, 1, 1], "group": 2}, (6, 2, 3, 3), {"padding": 1, "groups": 2}),
    ],
)
def test_convolution_has_the_gradient_of_pytorchs_and_keeps_nothing(
    attributes: dict[str, Any], weight: tuple[int, ...], options: dict[str, Any], tmp_path: Path
) -> None:
    values = _random(*weight)
    graph = OnnxGraph(_write(tmp_path / "g.onnx", [_n("Conv", ["x", "w"], **attributes)], {"w": values})).double()
    x = torch.from_numpy(IMAGE).double().requires_grad_()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each):
        mine = graph(x)[0]
    theirs = _of_torch(values, **options)(x)
    torch.testing.assert_close(mine, theirs)
    assert kept == [values.size]  # the weight, which is there anyway
    weights = torch.randn_like(theirs)
    (wanted,) = torch.autograd.grad(theirs, x, weights)
    torch.testing.assert_close(torch.autograd.grad(mine, x, weights)[0], wanted)
    mapped = torch.vmap(lambda one: graph(one[None])[0][0])(x)
    torch.testing.assert_close(torch.autograd.grad(mapped, x, weights)[0], wanted)


def test_a_bias_that_is_computed_from_the_picture_carries_a_gradient(tmp_path: Path) -> None:
    nodes = [_n("ReduceMean", ["x"], "b", axes=[0, 2, 3], keepdims=0), _n("Conv", ["x", "w", "b"])]
    values = _random(4, 4, 3, 3)
    graph = OnnxGraph(_write(tmp_path / "g.onnx", nodes, {"w": values}, opset=13))
    x = torch.from_numpy(IMAGE).requires_grad_()
    mine, theirs = graph(x)[0], torch.nn.functional.conv2d(x, torch.from_numpy(values), x.mean((0, 2, 3)))
    given = torch.randn_like(theirs)
    torch.testing.assert_close(torch.autograd.grad(mine, x, given), torch.autograd.grad(theirs, x, given))


def test_batch_norm_keeps_what_it_multiplies_by_alone(tmp_path: Path) -> None:
    weights = {"s": _random(4), "b": _random(4), "m": _random(4), "v": np.abs(_random(4)) + 0.1}
    graph = OnnxGraph(_write(tmp_path / "g.onnx", [_n("BatchNormalization", ["x", "s", "b", "m", "v"])], weights))
    x = torch.from_numpy(IMAGE).requires_grad_()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda each: kept.append(each.numel()) or each, lambda each: each):
        mine = graph(x)[0]
    assert sum(kept) == 4
    scale, shift, mean, variance = (torch.from_numpy(value) for value in weights.values())
    theirs = torch.nn.functional.batch_norm(x, mean, variance, scale, shift)
    torch.testing.assert_close(mine, theirs)
    given = torch.randn_like(x)
    torch.testing.assert_close(torch.autograd.grad(mine, x, given), torch.autograd.grad(theirs, x, given))


@pytest.mark.parametrize("shape", [(4, 1, 1), (1,)])
def test_prelu_has_the_gradient_of_pytorchs(shape: tuple[int, ...], tmp_path: Path) -> None:
    slope = _random(*shape)
    graph = OnnxGraph(_write(tmp_path / "g.onnx", [_n("PRelu", ["x", "s"])], {"s": slope}))
    x = torch.from_numpy(np.where(np.abs(IMAGE) < 0.2, np.float32(0), IMAGE)).requires_grad_()
    weights = torch.from_numpy(_random(*IMAGE.shape))
    mine, theirs = graph(x)[0], torch.nn.functional.prelu(x, torch.from_numpy(slope).flatten())
    assert torch.equal(mine, theirs)
    (wanted,) = torch.autograd.grad(theirs, x, weights)
    assert torch.equal(torch.autograd.grad(mine, x, weights)[0], wanted)
    mapped = torch.vmap(lambda one: graph(one[None])[0][0])(x)
    assert torch.equal(torch.autograd.grad(mapped, x, weights)[0], wanted)


def test_running_without_gradients_leaves_the_input_alone(tmp_path: Path) -> None:
    graph = OnnxGraph(_write(tmp_path / "g.onnx", [_n("Relu", ["x"])], {}))
    x = torch.from_numpy(IMAGE.copy())
    with torch.no_grad():
        graph(x)
    assert torch.equal(x, torch.from_numpy(IMAGE))


def test_unknown_operator_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "odd.onnx", [_n("Hardmax", ["x"])], {})
    with pytest.raises(UnsupportedOperator, match=r"odd\.onnx.*Hardmax"):
        OnnxGraph(path)


def test_unknown_form_of_an_operator_is_named(tmp_path: Path) -> None:
    nodes = [_n("Resize", ["x", "", "k"], mode="cubic")]
    graph = OnnxGraph(_write(tmp_path / "cubic.onnx", nodes, {"k": np.array([1, 1, 2, 2], np.float32)}))
    with pytest.raises(UnsupportedOperator, match=r"cubic\.onnx.*Resize cubic"):
        graph(torch.from_numpy(IMAGE))


def _conv_file(path: Path) -> Path:
    return _write(path, [_n("Conv", ["x", "w"])], {"w": _random(64, 4, 3, 3)})


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_truncated_file_is_named(tmp_path: Path, share: float) -> None:
    path = _conv_file(tmp_path / "cut.onnx")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(PackError, match=r"cut\.onnx"):
        OnnxGraph(path)


def test_absent_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"none\.onnx: no such file"):
        OnnxGraph(tmp_path / "none.onnx")
    foreign = {
        b"<html>not found</html>\n": "a text file",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n": "git lfs pull",
        b"PK\x03\x04\x14\x00": "unzip it",
        b"": "empty",
    }
    for content, said in foreign.items():
        (tmp_path / "other.onnx").write_bytes(content)
        with pytest.raises(PackError, match=rf"other\.onnx: .*{said}"):
            OnnxGraph(tmp_path / "other.onnx")


@pytest.mark.parametrize("kind", ["cut", "flipped"])
def test_any_damage_is_one_line(tmp_path: Path, kind: str) -> None:
    whole, rng = _conv_file(tmp_path / "g.onnx").read_bytes(), np.random.default_rng(4)
    path, refused = tmp_path / "damaged.onnx", 0
    for _ in range(60):
        damaged = bytearray(whole)
        if kind == "cut":
            del damaged[int(rng.integers(1, len(whole))) :]
        else:
            for place in rng.integers(0, 160, 4):
                damaged[-int(place) - 1] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            OnnxGraph(path)
        except PackError as error:
            refused += 1
            assert "damaged.onnx" in str(error) and "\n" not in str(error)
    assert refused > 20


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    weight = _random(64, 4, 3, 3)
    model = onnx.load(str(_write(tmp_path / "g.onnx", [_n("Conv", ["x", "w"])], {"w": weight})))
    onnx.save(model, str(tmp_path / "g.onnx"), save_as_external_data=True, location="w.bin", size_threshold=16)
    _compare(tmp_path / "g.onnx", IMAGE)
    whole = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(whole[:500])
    with pytest.raises(PackError, match=r"g\.onnx: its weights lie in another file"):
        OnnxGraph(tmp_path / "g.onnx")
    (tmp_path / "w.bin").unlink()
    with pytest.raises(PackError, match=r"g\.onnx: its weights lie in another file.*w\.bin"):
        OnnxGraph(tmp_path / "g.onnx")


def test_operator_of_another_domain_is_named(tmp_path: Path) -> None:
    node = helper.make_node("FusedConv", ["x"], ["y"], name="fused_0", domain="com.microsoft")
    with pytest.raises(UnsupportedOperator, match=r"operator com\.microsoft\.FusedConv \(node fused_0\)"):
        OnnxGraph(_write(tmp_path / "g.onnx", [node], {}))


def test_graph_that_reads_a_value_nobody_gives(tmp_path: Path) -> None:
    path = _write(tmp_path / "hole.onnx", [_n("Add", ["x", "lost"])], {})
    with pytest.raises(PackError, match=r"hole\.onnx.*'lost'"):
        OnnxGraph(path)


def test_nodes_may_be_listed_in_any_order(tmp_path: Path) -> None:
    nodes = [_n("Relu", ["n"]), _n("BatchNormalization", ["c", "s", "s", "s", "v"], "n"), _n("Conv", ["x", "w"], "c")]
    weights = {"w": _random(6, 4, 3, 3), "s": _random(6), "v": np.abs(_random(6)) + 0.1}
    _compare(_write(tmp_path / "g.onnx", nodes, weights), IMAGE)


def test_a_constant_part_that_cannot_be_computed_is_named(tmp_path: Path) -> None:
    nodes = [_n("Concat", ["a", "b"], "c", axis=0), _n("Add", ["x", "c"])]
    with pytest.raises(PackError, match=r"g\.onnx: node Concat_c cannot be computed"):
        OnnxGraph(_write(tmp_path / "g.onnx", nodes, {"a": _random(2, 3), "b": _random(2, 4)}))
    nodes = [_n("Resize", ["a", "", "k"], "r", mode="cubic"), _n("Add", ["x", "r"])]
    with pytest.raises(UnsupportedOperator, match="Resize cubic"):
        OnnxGraph(_write(tmp_path / "g.onnx", nodes, {"a": IMAGE, "k": np.array([1, 1, 2, 2], np.float32)}))


def test_a_graph_says_whether_it_looks_at_the_whole_map(tmp_path: Path) -> None:
    assert OnnxGraph(_conv_file(tmp_path / "g.onnx")).is_local
    assert not OnnxGraph(_write(tmp_path / "g.onnx", [_n("GlobalAveragePool", ["x"])], {})).is_local


def test_half_precision_weights_run_in_the_working_precision(tmp_path: Path) -> None:
    weight = _random(6, 4, 3, 3)
    path = _write(tmp_path / "g.onnx", [_n("Conv", ["x", "w"])], {"w": weight})
    model = onnx.load(str(path))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight.astype(np.float16), "w"))
    path.write_bytes(model.SerializeToString())
    graph = OnnxGraph(path)
    got = graph(torch.from_numpy(IMAGE))[0]
    expected = torch.nn.functional.conv2d(torch.from_numpy(IMAGE), torch.from_numpy(weight))
    assert got.dtype == torch.float32 and torch.allclose(got, expected, atol=1e-2)
    assert graph.is_float32
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    path.write_bytes(model.SerializeToString())
    assert not OnnxGraph(path).is_float32
