"""The recogniser: aligned face crops to embeddings, with gradients to the pixels and frozen weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from rewardfl_app.rewards import onnx_session
from rewardfl_app.rewards.onnx_graph import OnnxGraph, PackError
from rewardfl_app.rewards.onnx_session import OnnxSession

_FACES_AT_ONCE = 4  # of one worker, without gradients
_LARGEST_CROP = 1024  # pixels


class Recogniser(nn.Module):
    """An ArcFace-format ONNX file as a torch module.

    Attributes: `size` (side of the crop in pixels), `embedding_size`, `mean` and `std` of the input in 0..255 pixel
    values.
    """

    def __init__(self, graph: OnnxGraph) -> None:
        super().__init__()
        self.graph = graph
        shape = graph.input_shapes[0]
        if len(shape) != 4 or shape[2] is None or shape[2] != shape[3] or (shape[2] % 112 and shape[2] % 128):
            raise PackError(f"{graph.path}: a recogniser takes squares of 112 or 128 pixels or multiples, not {shape}")
        if shape[2] > _LARGEST_CROP:
            raise PackError(f"{graph.path}: the recogniser takes crops of {shape[2]} pixels, at most {_LARGEST_CROP}")
        if len(graph.output_names) != 1:
            raise PackError(f"{graph.path}: a recogniser has one output, this one {len(graph.output_names)}")
        self.size: int = shape[2]
        # insightface's rule: a graph that begins with a subtraction and a multiplication normalises by itself.
        first = graph.node_names[:8]
        inside = any(n.startswith(("Sub", "_minus")) for n in first) and any(
            n.startswith(("Mul", "_mul")) for n in first
        )
        self.mean, self.std = (0.0, 1.0) if inside else (127.5, 127.5)
        if shape[0] not in (None, 1):
            raise PackError(f"{graph.path}: the recogniser takes exactly {shape[0]} faces at a time; export it with 1")
        self._one_by_one = shape[0] == 1
        self._session = OnnxSession(graph.path)
        if not self._one_by_one:  # convolutions forward and backward are about a fifth faster in this order
            self.graph.to(memory_format=torch.channels_last)
        self.embedding_size = int(self._try_out())

    @property
    def path(self) -> Path:
        return self.graph.path

    def forward(self, crops: Tensor) -> Tensor:
        """Embeddings [M, D], not normalised, of aligned crops [M, 3, size, size], RGB in [-1, 1]."""
        if (self.mean, self.std) == (127.5, 127.5):
            return self.raw(crops)
        return self.raw((crops * 127.5 + (127.5 - self.mean)) / self.std)

    def raw(self, inputs: Tensor) -> Tensor:
        """Embeddings [M, D] of crops that are already in the graph's own range and channel order."""
        if inputs.shape[0] == 0:
            return inputs.new_zeros(0, self.embedding_size)
        if not torch.is_grad_enabled() and onnx_session.is_enough(self):
            parts = self._session.run(inputs.float(), 1 if self._one_by_one else _FACES_AT_ONCE)
            return torch.cat([torch.from_numpy(outputs[0]).flatten(1) for outputs in parts])
        return self._in_torch(inputs)

    def _in_torch(self, inputs: Tensor) -> Tensor:
        if not self._one_by_one:
            return self.graph(inputs.contiguous(memory_format=torch.channels_last))[0].flatten(1)
        # A graph written for one face (fixed batch) is mapped over the faces, all in one call.
        mapped: Tensor = torch.vmap(lambda one: self.graph(one[None])[0].flatten())(inputs)
        return mapped

    def _try_out(self) -> int:
        try:
            with torch.no_grad():
                return self._in_torch(torch.zeros(2, 3, self.size, self.size)).shape[1]
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise PackError(
                f"{self.path}: the graph does not run on {self.size} x {self.size} crops ({error})"
            ) from error
