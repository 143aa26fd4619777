"""Gradient checkpointing whose kept activations wait in host memory.

A checkpointed block keeps its inputs. Of these the hidden states are its own, while text, time and positions are the
same tensors in every block; `torch.autograd.graph.save_on_cpu` would copy all of them for every block and wait each
time. Here only the hidden states move, on a stream of their own: out while the next block computes, and back while the
block after is differentiated.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint


class Kept:
    """Hidden states that wait in host memory (pinned, where they come from an accelerator)."""

    def __init__(self, hidden: Tensor, before: Kept | None, stream: torch.cuda.Stream | None) -> None:
        self.device = hidden.device
        self.host = torch.empty_like(hidden, device="cpu", pin_memory=stream is not None)
        self._before = None if before is None else weakref.ref(before)
        self._stream = stream
        self._fetched: Tensor | None = None
        if stream is None:
            self.host.copy_(hidden)
            return
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            self.host.copy_(hidden, non_blocking=True)
        hidden.record_stream(stream)  # its memory is not given to others before the copy is done

    def fetch(self) -> None:
        """Begins to bring them back."""
        if self._fetched is not None:
            return
        if self._stream is None:
            self._fetched = self.host.clone()
            return
        with torch.cuda.stream(self._stream):  # in the order of the stream, so after the copy out
            self._fetched = self.host.to(self.device, non_blocking=True)

    def take(self) -> Tensor:
        """They themselves, on their device; those of the block before begin to come back. Can be taken again."""
        self.fetch()
        hidden, self._fetched = self._fetched, None
        assert hidden is not None
        if self._stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self._stream)
            hidden.record_stream(current)
        before = self._before() if self._before is not None else None
        if before is not None:
            before.fetch()
        return hidden


class OffloadedCheckpoint:
    """Runs the blocks of one network, in their order, as `torch.utils.checkpoint` would."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self._first = blocks[0]
        self._last: weakref.ref[Kept] | None = None
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def __call__(self, block: nn.Module, hidden: Tensor, *shared: Any) -> Any:
        """block(hidden, *shared), whose graph keeps the hidden states in host memory and the shared inputs as they
        are."""
        if block is self._first:
            self._last = None
        stream = self._stream(hidden.device)
        where, shape = hidden.data_ptr(), hidden.shape  # not the tensor: the graph keeps the hooks

        def pack(saved: Tensor) -> Kept | Tensor:
            if saved.data_ptr() != where or saved.shape != shape:
                return saved
            kept = Kept(saved.detach(), self._last() if self._last is not None else None, stream)
            self._last = weakref.ref(kept)
            return kept

        # Inside the block the checkpoint's own hooks come first, so these see its inputs alone.
        with saved_tensors_hooks(pack, _unpacked):
            return checkpoint(block, hidden, *shared, use_reentrant=False)

    def _stream(self, device: torch.device) -> torch.cuda.Stream | None:
        if device.type != "cuda":
            return None
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        return self._streams[device]


def _unpacked(saved: Kept | Tensor) -> Tensor:
    return saved.take() if isinstance(saved, Kept) else saved
