"""The training processes as one: who they are, what they agree on, and which of them share their videos."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Ranks:
    """The group of training processes. Every decision to stop, save or skip is made here, by all of them together.

    Each `context_parallel` ranks that follow one another share their videos, each with a part of the tokens: they have
    the same `data_rank` of `data_size`, by which samples are dealt, and `tokens` is their group. The first of them
    `leads`: it stands for all of them where something is summed or written.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self.tokens: ProcessGroup | None = None
        self._shares = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def data_rank(self) -> int:
        return self.rank // self._shares

    @property
    def data_size(self) -> int:
        return self.size // self._shares

    @property
    def leads(self) -> bool:
        return self.rank % self._shares == 0

    def connect(self, timeout_minutes: float = 30.0, context_parallel: int = 1) -> None:
        """Joins the group, whose members wait so long for each other; every rank must call it.

        Raises ValueError when the ranks cannot be divided into groups of `context_parallel`.
        """
        import deepspeed

        # DeepSpeed would compile a C++ kernel for shared-memory reductions, a minute at the first start, that training
        # does not use.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        timeout = timedelta(minutes=timeout_minutes)
        deepspeed.init_distributed(verbose=False, timeout=timeout)
        if context_parallel > 1:
            self.tokens, _ = torch.distributed.new_subgroups(context_parallel, timeout=timeout)
            self._shares = context_parallel

    def sum(self, values: list[float]) -> list[float]:
        """Element-wise sums over the samples' ranks, of which one of each group counts, in float64."""
        if self.size == 1:
            return values
        return self._summed(values if self.leads else [0.0] * len(values))

    def any_true(self, values: list[bool]) -> list[bool]:
        """Element-wise, whether it is true on any rank."""
        return values if self.size == 1 else [count > 0 for count in self._summed([float(value) for value in values])]

    def all_true(self, value: bool) -> bool:
        """Whether it is true on every rank."""
        return not self.any_true([not value])[0]

    def all_share(self, value: bool) -> bool:
        """Whether it is true on every rank that shares this one's videos."""
        if self.tokens is None:
            return value
        flag = torch.tensor(int(value), device=self._device())
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN, group=self.tokens)
        return bool(flag)

    def as_the_leader(self, tensor: Tensor) -> Tensor:
        """The tensor of the rank that leads those that share this one's videos; all of the same shape and type."""
        if self.tokens is not None:
            tensor = tensor.contiguous()
            torch.distributed.broadcast(tensor, group_src=0, group=self.tokens)
        return tensor

    def from_first(self, values: list[int]) -> list[int]:
        """Rank 0's integers, on every rank; all ranks pass equally many."""
        if self.size == 1:
            return values
        shared = torch.tensor(values, dtype=torch.int64, device=self._device())
        torch.distributed.broadcast(shared, src=0)
        return shared.tolist()

    def text_from_first(self, text: str) -> str:
        """Rank 0's text, on every rank."""
        if self.size == 1:
            return text
        letters = list(text.encode())
        [length] = self.from_first([len(letters)])
        return bytes(self.from_first(letters if self.is_first else [0] * length)).decode()

    def wait(self) -> None:
        """Returns when every rank is here."""
        if self.size > 1:
            torch.distributed.barrier()

    def leave(self) -> None:
        """Closes the group without waiting for anyone, so it is safe after an error."""
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def _summed(self, values: list[float]) -> list[float]:
        summed = torch.tensor(values, dtype=torch.float64, device=self._device())
        torch.distributed.all_reduce(summed)
        return summed.tolist()

    def _device(self) -> torch.device:
        # NCCL, the group's backend when there are GPUs, only moves GPU memory
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")
