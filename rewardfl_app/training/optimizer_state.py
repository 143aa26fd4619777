"""Trained values and AdamW's moments parameter by parameter, whole, wherever ZeRO keeps their parts.

What is saved therefore has no layout: any number of processes and any ZeRO stage can go on from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

# What AdamW keeps of a parameter, beside the number of updates
MOMENTS = ("exp_avg", "exp_avg_sq")


class OptimizerState:
    """The parts of every trained parameter that this rank holds, and the whole they make up.

    Methods named `whole...` are called by all ranks, for the same parameters in the same order.
    """

    def __init__(self, engine: DeepSpeedEngine, zero_stage: int) -> None:
        self._stage = zero_stage
        # ZeRO's wrapper; without ZeRO the optimizer itself
        self._wrapper: Any = engine.optimizer
        self._base: torch.optim.Optimizer = self._wrapper.optimizer if zero_stage else self._wrapper

    def values(self, parameter: nn.Parameter) -> Tensor:
        """This rank's part of the values: all of them, except under ZeRO 3 a flat share, padded at the end."""
        return parameter.ds_tensor.data if self._stage == 3 else parameter.data  # type: ignore[attr-defined]

    def whole(self, parameter: nn.Parameter, part: Tensor) -> Tensor:
        """The full tensor whose parts on the ranks are shaped like `values`."""
        if self._stage < 3:
            return part
        return self._wrapper._fp32_state_allgather(parameter, part.to(parameter.device))

    def part(self, parameter: nn.Parameter, whole: Tensor) -> Tensor:
        """This rank's part of a full tensor, shaped like `values`."""
        if self._stage < 3:
            return whole
        return self._share(whole, self.values(parameter).numel())

    def whole_moment(self, parameter: nn.Parameter, moment: str) -> Tensor:
        """One of MOMENTS, in the parameter's shape; after the first update."""
        from deepspeed.utils import safe_get_full_optimizer_state

        if self._stage == 0:
            return self._base.state[parameter][moment]
        return safe_get_full_optimizer_state(parameter, moment)

    def start_from(self, num_updates: int) -> None:
        """Makes the state of an optimizer that has made `num_updates` updates, with moments still to be put; before the
        first update."""
        for group in self._flat_groups():
            for flat in group:
                self._base.state[flat] = {
                    "step": torch.tensor(float(num_updates)),
                    **{moment: torch.zeros_like(flat) for moment in MOMENTS},
                }
        if self._stage in (1, 2):
            self._wrapper._lazy_init_hp_params_optimizer_state()

    def put_moment(self, parameter: nn.Parameter, moment: str, whole: Tensor) -> None:
        """Puts a full moment into the part that this rank keeps; after `start_from`."""
        from deepspeed.utils import safe_set_full_optimizer_state

        if self._stage == 0:
            self._base.state[parameter][moment].copy_(whole)
        elif self._stage == 3:
            # DeepSpeed's own setter fails where the last share is padded.
            kept, _ = self._wrapper._get_fp32_opt_state_partition(
                parameter, release_swap_buffers=False, optim_state_key=moment
            )
            kept.copy_(self._share(whole, kept.numel()))
        else:
            safe_set_full_optimizer_state(parameter, whole, moment)

    def given_up(self) -> None:
        """After a change of `values`: no rank goes on with weights that it gathered before."""
        if self._stage == 3:
            self._wrapper._partition_all_parameters()

    def _flat_groups(self) -> list[list[Tensor]]:
        if self._stage == 3:  # its parameter groups are empty between updates
            return [list(self._wrapper.fp32_partitioned_groups_flat)]
        return [group["params"] for group in self._base.param_groups]

    @staticmethod
    def _share(whole: Tensor, size: int) -> Tensor:
        rank = torch.distributed.get_rank()
        own = whole.flatten()[rank * size : (rank + 1) * size]
        return torch.nn.functional.pad(own, (0, size - own.numel()))
