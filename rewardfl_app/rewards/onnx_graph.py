"""An ONNX file as a frozen, differentiable torch module.

Weights become buffers (never trained); the graph is a list of torch calls in the file's own order. Batch
normalisation that follows a convolution is folded into it. Values are released after their last use, so that a
forward without gradients holds only what is still needed.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor, nn

from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.rewards.operators import HOST_INPUTS, OPERATORS, UnsupportedOption


class PackError(Exception):
    """A file of a face pack cannot be used; the message names the file and the reason."""


class UnsupportedOperator(PackError):
    """The graph needs an operator, or a form of one, that this project does not have; the message names it."""


# Operators through which every value of a map acts on every other one, however far away.
_GLOBAL = (
    "InstanceNormalization", "LayerNormalization", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceSum",
    "ReduceMax", "ReduceMin", "ReduceL2", "MatMul", "Softmax",
)  # fmt: skip
_MOST_MADE = 2**26  # values of a constant that is computed when the file is read
# Operators whose result is new memory that nothing else looks at.
_FRESH = ("Conv", "Add", "BatchNormalization", "Gemm")


@dataclass(frozen=True)
class Step:
    """One operator of the graph: `outputs = function(*inputs)`, after which `released` values are no longer needed."""

    name: str
    operator: str
    function: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    released: tuple[str, ...]


def read_model(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file, refusing one that is absent, truncated or not ONNX (`PackError`)."""
    try:
        with open_plain(path) as file:
            foreign = _foreign(file.read(512))
        if foreign is not None:
            raise PackError(f"{path}: {foreign}")
        model = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError:
        raise PackError(f"{path}: no such file") from None
    except (DecodeError, OSError, ValueError) as error:
        raise PackError(f"{path}: not a readable ONNX file, perhaps truncated in a download ({error})") from error
    if not model.graph.node or not model.graph.output:
        raise PackError(f"{path}: holds no graph; the file is empty or truncated")
    if any(tensor.external_data for tensor in model.graph.initializer):
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise PackError(f"{path}: its weights lie in another file that cannot be read ({error})") from error
    return model


def _foreign(beginning: bytes) -> str | None:
    """What a file is that is not ONNX, told by its first bytes; None where it may be ONNX."""
    if beginning.startswith(b"PK\x03\x04"):
        return "a zip archive named .onnx; unzip it"
    if beginning.startswith(b"version https://git-lfs"):
        return "only the Git LFS pointer to the file; fetch the file itself with git lfs pull"
    if beginning and all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in beginning):
        return "a text file, not an ONNX file; perhaps the page of a download that failed"
    return None


class OnnxGraph(nn.Module):
    """`forward(*inputs) -> list of outputs`, as onnxruntime computes them, with gradients to the inputs.

    Attributes: `input_names`, `input_shapes` (None where an axis is free), `output_names`, `node_names` of the file;
    `is_float32` (False where it wants or gives another type, such as half precision; here it runs all the same);
    `is_local` (False where an operator looks at the whole map: then what lies far away matters too).
    """

    def __init__(self, path: Path, model: onnx.ModelProto | None = None) -> None:
        super().__init__()
        self.path = path
        model = read_model(path) if model is None else model
        graph = model.graph
        self.opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=11)
        constants = {tensor.name: self._array(tensor) for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        self.input_names = [value.name for value in inputs]
        self.input_shapes = [
            [int(d.dim_value) if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim]
            for value in inputs
        ]
        self.output_names = [value.name for value in graph.output]
        types = {value.type.tensor_type.elem_type for value in (*inputs, *graph.output)}
        self.is_float32 = types == {onnx.TensorProto.FLOAT}
        self.node_names = [node.name for node in graph.node]
        self.is_local = not any(node.op_type in _GLOBAL for node in graph.node)
        self._host: dict[str, Tensor] = {}
        self._buffer_of: dict[str, str] = {}
        self._steps: list[Step] = []
        nodes = _in_order(list(graph.node), {*self.input_names, *constants, ""})
        nodes = self._fold_batch_norms(nodes, constants)
        self._build(nodes, constants)
        self.requires_grad_(False)
        self.eval()

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        """Runs the graph on floating inputs in the module's own dtype and device."""
        values: dict[str, Any] = dict(zip(self.input_names, inputs, strict=True))
        values.update(self._host)
        for name, buffer in self._buffer_of.items():
            values[name] = getattr(self, buffer)
        for step in self._steps:
            try:
                result = step.function(*(values[name] if name else None for name in step.inputs))
            except UnsupportedOption as error:
                raise UnsupportedOperator(f"{self.path}: {error} (node {step.name})") from error
            if isinstance(result, tuple):
                values.update(zip(step.outputs, result, strict=False))
            else:
                values[step.outputs[0]] = result
            for name in step.released:
                values.pop(name, None)
        return [values[name] for name in self.output_names]

    def _array(self, tensor: onnx.TensorProto) -> np.ndarray[Any, Any]:
        try:
            array = numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise PackError(f"{self.path}: weight {tensor.name} is damaged or truncated ({error})") from error
        return np.asarray(array)

    def _fold_batch_norms(
        self, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray[Any, Any]]
    ) -> list[onnx.NodeProto]:
        """Multiplies the batch normalisations that follow a convolution into its weights."""
        readers = Counter(name for node in nodes for name in node.input)
        maker = {name: node for node in nodes for name in node.output}
        kept: list[onnx.NodeProto] = []
        for node in nodes:
            conv = maker.get(node.input[0]) if node.op_type == "BatchNormalization" else None
            parameters = [constants.get(name) for name in node.input[1:5]]
            if (
                conv is None
                or conv.op_type != "Conv"
                or readers[node.input[0]] != 1
                or node.input[0] in self.output_names
                or any(value is None for value in parameters)
                or any(name not in constants or readers[name] != 1 for name in conv.input[1:])
            ):
                kept.append(node)
                continue
            scale, shift, mean, variance = (np.asarray(value, np.float64) for value in parameters)
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            factor = scale / np.sqrt(variance + epsilon)
            weight = constants[conv.input[1]]
            bias = constants[conv.input[2]] if len(conv.input) > 2 else 0.0
            constants[conv.input[1]] = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
            folded = f"{conv.output[0]}.folded_bias"
            constants[folded] = (bias - mean) * factor + shift
            del conv.input[2:]
            conv.input.append(folded)
            conv.output[0] = node.output[0]
            maker[node.output[0]] = conv
        return kept

    def _attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        attributes: dict[str, Any] = {"_outputs": len(node.output)}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, bytes):
                value = value.decode()
            elif isinstance(value, onnx.TensorProto):
                value = torch.from_numpy(np.array(self._array(value)))
            elif attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                raise UnsupportedOperator(f"{self.path}: operator {node.op_type} (node {node.name}) holds a subgraph")
            attributes[attribute.name] = list(value) if not isinstance(value, (str, int, float, Tensor)) else value
        return attributes

    def _function(self, node: onnx.NodeProto) -> Any:
        if node.op_type == "Cast":
            return _cast_to(node)
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            domain = f"{node.domain}." if node.domain else ""
            raise UnsupportedOperator(
                f"{self.path}: operator {domain}{node.op_type} (node {node.name}) is not supported"
            )
        try:
            return OPERATORS[node.op_type](self._attributes(node), self.opset)
        except UnsupportedOption as error:
            raise UnsupportedOperator(f"{self.path}: {error} (node {node.name})") from error

    def _build(self, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray[Any, Any]]) -> None:
        known = set(self.input_names) | set(constants) | {""}
        tensors = {name: _as_tensor(value) for name, value in constants.items()}
        pending: list[tuple[onnx.NodeProto, Any]] = []
        for node in nodes:
            if node.op_type == "Constant":
                tensors[node.output[0]] = self._constant(node)
                known.add(node.output[0])
                continue
            absent = [name for name in node.input if name not in known]
            if absent:
                raise PackError(
                    f"{self.path}: node {node.name or node.op_type} reads {absent[0]!r}, which nothing gives"
                )
            known.update(node.output)
            function = self._function(node)
            if node.input and all(name in tensors for name in node.input if name):
                # The same for every input: computed once, here.
                result = self._constant_result(node, function, [tensors.get(name) for name in node.input])
                tensors.update(zip(node.output, result if isinstance(result, tuple) else (result,), strict=False))
                continue
            pending.append((node, function))
        missing = [name for name in self.output_names if name not in known]
        if missing:
            raise PackError(f"{self.path}: output {missing[0]!r} is not computed; the file is damaged")
        self._place(tensors, pending)
        makers = {name: node.op_type for node, _ in pending for name in node.output}
        last_use = {name: i for i, (node, _) in enumerate(pending) for name in (*node.input, *node.output)}
        kept = {*self.output_names, *self._host, *self._buffer_of, ""}
        for i, (node, function) in enumerate(pending):
            released = tuple({n for n in (*node.input, *node.output) if last_use[n] == i and n not in kept})
            outputs = tuple(node.output)
            if node.op_type == "Relu" and node.input[0] in released and makers.get(node.input[0]) in _FRESH:
                function = _relu_in_place
            self._steps.append(Step(node.name, node.op_type, function, tuple(node.input), outputs, released))

    def _constant_result(self, node: onnx.NodeProto, function: Any, inputs: list[Tensor | None]) -> Any:
        try:
            if (made := _num_made(node, inputs)) > _MOST_MADE:
                raise PackError(f"{self.path}: node {node.name or node.op_type} makes {made:.0e} values, at most 2^26")
            return function(*inputs)
        except UnsupportedOption as error:
            raise UnsupportedOperator(f"{self.path}: {error} (node {node.name})") from error
        except (RuntimeError, IndexError, ValueError, TypeError, ArithmeticError, AttributeError) as error:
            raise PackError(f"{self.path}: node {node.name or node.op_type} cannot be computed ({error})") from error

    def _place(self, tensors: dict[str, Tensor], pending: list[tuple[onnx.NodeProto, Any]]) -> None:
        """Weights become buffers; what only steers an operator stays on the host."""
        for node, _ in pending:
            steering = HOST_INPUTS.get(node.op_type, ())
            for position, name in enumerate(node.input):
                if name not in tensors or name in self._buffer_of:
                    continue
                if position in steering or not tensors[name].is_floating_point():
                    self._host[name] = tensors[name]
                else:
                    self._host.pop(name, None)
                    self._buffer_of[name] = f"weight_{len(self._buffer_of)}"
                    self.register_buffer(self._buffer_of[name], tensors[name].clone())
        for name in self.output_names:
            if name in tensors:
                self._host[name] = tensors[name]

    def _constant(self, node: onnx.NodeProto) -> Tensor:
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if isinstance(value, onnx.TensorProto):
                return _as_tensor(self._array(value))
            if attribute.name.startswith("value_"):
                return _as_tensor(np.asarray(value))
        raise UnsupportedOperator(f"{self.path}: Constant of an unknown kind (node {node.name})")


def _in_order(nodes: list[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """Each node after those whose outputs it reads, otherwise as in the file, which may list them in any order."""
    ordered: list[onnx.NodeProto] = []
    while nodes:
        waiting = []
        for node in nodes:
            if known.issuperset(node.input):
                ordered.append(node)
                known.update(node.output)
            else:
                waiting.append(node)
        if len(waiting) == len(nodes):  # something is missing; the caller names it
            return ordered + waiting
        nodes = waiting
    return ordered


def _num_made(node: onnx.NodeProto, inputs: list[Tensor | None]) -> float:
    """How many values a constant has whose size is not bounded by that of what it is made of; 0 for all others."""
    if node.op_type not in ("ConstantOfShape", "Expand", "Tile", "Pad", "Range"):
        return 0.0
    first, *rest = (found for found in inputs if found is not None)
    told = [float(value) for found in rest[:1] for value in found.reshape(-1).tolist()]
    match node.op_type:
        case "ConstantOfShape":
            return math.prod(float(value) for value in first.reshape(-1).tolist())
        case "Range":
            return abs(told[0] - float(first)) / max(abs(float(rest[1])), 1e-9)
        case "Pad":
            return first.numel() * math.prod(1 + abs(value) for value in told)
    return first.numel() * math.prod(told)


def _relu_in_place(x: Tensor) -> Tensor:
    """Without gradients the result takes the place of the input: large maps are bound by memory, not by arithmetic."""
    return torch.relu(x) if torch.is_grad_enabled() else torch.relu_(x)


def _as_tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """Weights of any float type become float32 (the module's `.to` sets the working type), the rest int64."""
    if array.dtype.kind == "f":
        return torch.from_numpy(np.array(array, dtype=np.float32))
    if array.dtype.kind == "b":
        return torch.from_numpy(np.array(array))
    return torch.from_numpy(np.array(array, dtype=np.int64))


def _cast_to(node: onnx.NodeProto) -> Any:
    """Cast keeps the working precision: any float stays as it is, an integer turned float becomes float32."""
    target = next(a.i for a in node.attribute if a.name == "to")
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)

    def cast(x: Tensor) -> Tensor:
        if target in floats:
            return x if x.is_floating_point() else x.to(torch.float32)
        return x.to(torch.bool if target == onnx.TensorProto.BOOL else torch.int64)

    return cast
