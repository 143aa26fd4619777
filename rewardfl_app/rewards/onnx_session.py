"""An ONNX file run without gradients on a CPU, by ONNX Runtime.

It needs about half the time of torch there. One session of one thread is shared by as many workers as torch has
threads, each with samples of its own: that scales better than several threads inside one small network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from rewardfl_app.rewards.onnx_graph import PackError, read_model

Array = np.ndarray[Any, Any]
Result = TypeVar("Result")


class OnnxSession:
    """`run(inputs) -> outputs` of a file with one input; loaded at its first use."""

    def __init__(self, path: Path, rewrite: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None) -> None:
        """`rewrite` makes an equal graph that runs faster."""
        self.path = path
        self._rewrite = rewrite

    def run(self, inputs: Tensor, at_once: int = 1) -> list[list[Array]]:
        """The outputs for inputs [N, ...] (float32, on the CPU), `at_once` samples in one call: a list per call.

        Raises PackError when ONNX Runtime does not take the file.
        """
        session = self._session
        name = session.get_inputs()[0].name

        def one(part: Tensor) -> list[Array]:
            try:
                outputs: list[Array] = session.run(None, {name: part.contiguous().numpy()})
            except Exception as error:  # its exceptions have no common base
                raise PackError(f"{self.path}: ONNX Runtime cannot run this file ({error})") from error
            return outputs

        return self.map(one, inputs.detach().split(at_once))

    def map(self, work: Callable[[Tensor], Result], parts: Sequence[Tensor]) -> list[Result]:
        """`work` on each part by the workers, in order; a single part is done by the caller."""
        return [work(part) for part in parts] if len(parts) < 2 else list(self._workers.map(work, parts))

    @cached_property
    def _session(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # it warns at every frame whose size is not the one in the file
        try:
            return onnxruntime.InferenceSession(self._source(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise PackError(f"{self.path}: ONNX Runtime cannot load this file ({error})") from error

    def _source(self) -> str | bytes:
        return str(self.path) if self._rewrite is None else self._rewrite(read_model(self.path)).SerializeToString()

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="onnx")


def is_enough(module: nn.Module) -> bool:
    """Whether a module's file may run by ONNX Runtime instead: float32 throughout, on a CPU."""
    weight = next(module.buffers())
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and bool(module.graph.is_float32)
