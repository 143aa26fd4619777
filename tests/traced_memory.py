"""The bytes that PyTorch code holds, counted operation by operation; under FakeTensorMode without having them."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Traced(TorchDispatchMode):
    """`now`: bytes of the storages made inside that are alive; `peak`: the most since `start`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def start(self) -> int:
        """Lets the peak begin here; what is held."""
        self.peak = self.now
        return self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor)
        return made

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = self._known[storage] = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


def stand_in(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Gives a module made on the meta device tensors of the mode that is on: `dtype`, float32 where it trains."""
    for owner in module.modules():
        for name, weight in owner._parameters.items():
            if weight is not None:
                made = torch.empty(weight.shape, dtype=torch.float32 if weight.requires_grad else dtype)
                owner._parameters[name] = torch.nn.Parameter(made, requires_grad=weight.requires_grad)
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
