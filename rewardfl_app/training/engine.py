"""The only file that talks to DeepSpeed (and torch.distributed): the trained parameters, their optimizer, and the
ranks.

DeepSpeed is handed the LoRA parameters alone. Its bf16 mode would otherwise cast what diffusers keeps in float32, and
the frozen experts need none of its bookkeeping.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config


class _Trained(nn.Module):
    """A module that is nothing but its parameters: DeepSpeed wants a module."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)


class Ranks:
    """The group of training processes. Every decision to stop, save or skip is made here, by all of them together."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def connect(self) -> None:
        """Joins the group; every rank must call it."""
        import deepspeed

        # DeepSpeed would compile a C++ kernel for shared-memory reductions, a minute at the first start, that training
        # does not use.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        deepspeed.init_distributed(verbose=False)

    def sum(self, values: list[float]) -> list[float]:
        """Element-wise sums over the ranks, in float64."""
        if self.size == 1:
            return values
        summed = torch.tensor(values, dtype=torch.float64, device=self._device())
        torch.distributed.all_reduce(summed)
        return summed.tolist()

    def all_true(self, value: bool) -> bool:
        """Whether it is true on every rank."""
        return self.sum([0.0 if value else 1.0])[0] == 0

    def from_first(self, values: list[int]) -> list[int]:
        """Rank 0's integers, on every rank; all ranks pass equally many."""
        if self.size == 1:
            return values
        shared = torch.tensor(values, dtype=torch.int64, device=self._device())
        torch.distributed.broadcast(shared, src=0)
        return shared.tolist()

    def wait(self) -> None:
        """Returns when every rank is here."""
        if self.size > 1:
            torch.distributed.barrier()

    def leave(self) -> None:
        """Closes the group without waiting for anyone, so it is safe after an error."""
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def _device(self) -> torch.device:
        # NCCL, the group's backend when there are GPUs, only moves GPU memory
        return torch.device("cuda", self.local_rank) if torch.cuda.is_available() else torch.device("cpu")


class Engine:
    """AdamW on the trained parameters under ZeRO 0 to 2, with several backward passes per update."""

    def __init__(self, parameters: list[nn.Parameter], config: Config) -> None:
        """Parameters: float32, already on the device and with the values to start from (ZeRO copies them)."""
        import deepspeed

        self.zero_stage = config.deepspeed.zero_stage
        self._parameters = parameters
        train = config.train
        optimizer = torch.optim.AdamW(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)
        self._engine, *_ = deepspeed.initialize(
            model=_Trained(parameters), optimizer=optimizer, config=_deepspeed_config(config)
        )
        self._remaining = 0
        self._norm: float | None = None

    def begin_update(self, num_backwards: int) -> None:
        """Announces how many `backward` calls make up the next update: gradients are reduced at the last one."""
        self._remaining = num_backwards

    def backward(self, surrogate: Tensor) -> None:
        """Accumulates the gradient of a scalar in the trained parameters; it is averaged over the ranks, not over
        calls."""
        self._remaining -= 1
        if self._remaining < 0:
            raise RuntimeError("more backward passes than announced to begin_update")
        self._engine.set_gradient_accumulation_boundary(self._remaining == 0)
        self._engine.backward(surrogate, scale_wrt_gas=False)

    def backward_nothing(self) -> None:
        """Takes the place of one announced backward pass of this rank, and adds nothing."""
        self.backward(torch.stack([parameter.sum() * 0 for parameter in self._parameters]).sum())

    def gradient_norm(self) -> float:
        """The gradient's norm over all ranks, after the last backward pass and before clipping."""
        if self._remaining:
            raise RuntimeError(f"{self._remaining} announced backward passes are missing")
        gradients = [gradient for gradient in self._gradients() if gradient is not None]
        return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0

    def where_not_finite(self) -> str | None:
        """The first trained parameter whose gradient is not finite."""
        for place, gradient in enumerate(self._gradients()):
            if gradient is not None and not torch.isfinite(gradient).all():
                return f"trained parameter {place}"
        return None

    def step(self, learning_rate: float) -> None:
        """Clips and updates."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()

    def discard(self) -> None:
        """Drops the accumulated gradients of an update that is not to be made."""
        self._remaining = 0
        self._engine.optimizer.zero_grad()
        if self.zero_stage in (1, 2):  # ZeRO keeps the reduced gradients elsewhere, and adds to them otherwise
            self._engine.optimizer.micro_step_id = -1
            for group in self._engine.optimizer.averaged_gradients:
                self._engine.optimizer.averaged_gradients[group] = None

    def optimizer_state(self) -> dict[str, Any]:
        """This rank's optimizer state: numbers and tensors only. Under ZeRO 1 and 2 it belongs to this rank's share."""
        return self._base_optimizer().state_dict()

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Puts a state from `optimizer_state` back: same parameters, ZeRO stage and number of ranks."""
        self._base_optimizer().load_state_dict(state)

    def _base_optimizer(self) -> torch.optim.Optimizer:
        # ZeRO 1 and 2 wrap the optimizer and give it their own flat parameters
        return self._engine.optimizer.optimizer if self.zero_stage else self._engine.optimizer

    def _gradients(self) -> list[Tensor | None]:
        if self.zero_stage == 0:
            return [parameter.grad for parameter in self._parameters]
        from deepspeed.utils import safe_get_full_grad

        return [safe_get_full_grad(parameter) for parameter in self._parameters]


def _deepspeed_config(config: Config) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": config.deepspeed.zero_stage}
    if config.deepspeed.offload_optimizer and config.deepspeed.zero_stage:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": config.train.per_device_train_batch_size,
        # Backward passes are counted here, not there: see begin_update.
        "gradient_accumulation_steps": 1,
        # Always written: without it DeepSpeed clips at 1.0.
        "gradient_clipping": config.train.max_grad_norm,
        "zero_optimization": zero,
        # The LoRA's optimizer state is small, torch's AdamW is fast enough on the CPU and needs no compiler.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
