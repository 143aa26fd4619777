"""A graph made faster without changing what it computes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from onnx import helper, numpy_helper


def merge_sibling_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which convolutions of one input and one form are a single convolution, split afterwards.

    A SCRFD head ends in three of them (scores, boxes, landmarks) with few channels each, and kernels work on blocks of
    16: together they cost less than half.
    """
    merged = onnx.ModelProto()
    merged.CopyFrom(model)
    graph = merged.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    groups: dict[tuple[object, ...], list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        if node.op_type != "Conv" or any(name not in weights for name in node.input[1:]):
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if attributes.get("group", 1) == 1:
            form = (str(sorted(attributes.items(), key=lambda item: item[0])), tuple(weights[node.input[1]].dims[1:]))
            groups[(node.input[0], len(node.input), *form)].append(node)
    for siblings in groups.values():
        if len(siblings) > 1:
            _merge(merged, siblings, weights)
    return merged


def _merge(model: onnx.ModelProto, siblings: list[onnx.NodeProto], weights: dict[str, onnx.TensorProto]) -> None:
    graph, first = model.graph, siblings[0]
    name = f"{first.output[0]}.with_siblings"
    inputs = [first.input[0]]
    for place in range(1, len(first.input)):
        together = np.concatenate([numpy_helper.to_array(weights[node.input[place]]) for node in siblings])
        inputs.append(f"{name}.{place}")
        graph.initializer.append(numpy_helper.from_array(together, inputs[-1]))
    sizes = [int(weights[node.input[1]].dims[0]) for node in siblings]
    conv = helper.make_node("Conv", inputs, [name], name=name)
    conv.attribute.extend(first.attribute)
    outputs = [node.output[0] for node in siblings]
    opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < 13:
        split = helper.make_node("Split", [name], outputs, name=f"{name}.split", axis=1, split=sizes)
    else:
        graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), f"{name}.sizes"))
        split = helper.make_node("Split", [name, f"{name}.sizes"], outputs, name=f"{name}.split", axis=1)
    place = list(graph.node).index(first)
    nodes = [node for node in graph.node if node not in siblings]
    nodes[place:place] = [conv, split]
    del graph.node[:]
    graph.node.extend(nodes)
