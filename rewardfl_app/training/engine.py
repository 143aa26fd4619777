"""The only file that talks to DeepSpeed, beside `ranks`: the trained parameters and their optimizer.

Up to ZeRO 2, DeepSpeed is handed the trained parameters alone: the frozen weights need none of its bookkeeping. ZeRO 3
gets the whole networks that train, whose weights it divides. Its bf16 mode is never used: it would cast what diffusers
keeps in float32 (see models.precision).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rewardfl_app.training.optimizer_state import OptimizerState

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert
    from rewardfl_app.models.adaptation import Adaptation


class _Trained(nn.Module):
    """A module that is nothing but its parameters: DeepSpeed wants a module."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)


class Engine:
    """AdamW on the trained parameters under ZeRO 0 to 3, with several backward passes per update.

    Under ZeRO 3 the weights of the networks that train are divided among the ranks and gathered block by block where
    they are used, by all ranks together: with several ranks, every rank must run these networks equally often, or
    inside `gathered`. Whatever the stage, every rank accumulates the whole gradient of what it trains in float32 until
    it is reduced, once per update.

    Ranks that share the tokens of a video each compute a part of its gradient: what is averaged over the samples is
    their sum.
    """

    def __init__(self, adaptations: Mapping[Expert, Adaptation], config: Config) -> None:
        """The parameters must be on the device, with the values to start from (ZeRO copies them)."""
        import deepspeed

        self.zero_stage = config.deepspeed.zero_stage
        self._shares = config.deepspeed.context_parallel
        self.adaptations = adaptations
        self._parameters = {expert: adaptation.named_parameters() for expert, adaptation in adaptations.items()}
        train, parameters = config.train, self.parameters
        self._networks = [network for adaptation in adaptations.values() for network in adaptation.networks]
        optimizer = torch.optim.AdamW(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)
        self._engine, *_ = deepspeed.initialize(
            model=nn.ModuleList(self._networks) if self.zero_stage == 3 else _Trained(parameters),
            optimizer=optimizer,
            config=_deepspeed_config(config, sum(parameter.numel() for parameter in parameters)),
        )
        self.state = OptimizerState(self._engine, self.zero_stage)
        self._remaining = 0
        self._accumulating = ExitStack()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters, the same on every rank."""
        return [parameter for parameters in self._parameters.values() for parameter in parameters.values()]

    @property
    def needs_every_pass(self) -> bool:
        """Whether a rank that leaves out a pass of a network that trains would leave the others waiting."""
        return self.zero_stage == 3 and self._engine.world_size > 1

    def change(self, config: Config) -> None:
        """Clips and decays as these settings say from the next `step` on."""
        limit, optimizer = config.train.max_grad_norm, self._engine.optimizer
        self._engine._config.gradient_clipping = limit
        if self.zero_stage:
            optimizer.clip_grad = limit
        for group in optimizer.param_groups:
            group["weight_decay"] = config.train.weight_decay

    def begin_update(self, num_backwards: int) -> None:
        """Announces how many `backward` calls make up the next update: gradients are reduced at the last one."""
        self._remaining = num_backwards
        if self.zero_stage:
            # One reduction per update; and a parameter that the last backward pass does not reach is reduced, too.
            self._accumulating.enter_context(self._engine.coalesce_grad_reduction())

    def backward(self, surrogate: Tensor) -> None:
        """Accumulates the gradient of a scalar in the trained parameters; it is averaged over the ranks that have
        samples of their own, not over calls."""
        self._remaining -= 1
        if self._remaining < 0:
            raise RuntimeError("more backward passes than announced to begin_update")
        if self.zero_stage == 0:
            self._engine.set_gradient_accumulation_boundary(self._remaining == 0)
        self._engine.backward(surrogate, scale_wrt_gas=False)
        if self._remaining == 0:
            self._reduce()

    def gradient_norm(self) -> float:
        """The norm of the averaged gradient, before clipping; not finite if the gradient is not.

        To be called after the last backward pass and before `step`, by all ranks.
        """
        if self._remaining:
            raise RuntimeError(f"{self._remaining} announced backward passes are missing")
        optimizer = self._engine.optimizer
        if self.zero_stage == 0:
            gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        if self.zero_stage == 3:
            norms = [float(norm) for norm in optimizer._get_norm_groups()]
        else:
            optimizer._wait_for_offload_copies()
            norms = [float(optimizer.scaled_global_norm())]
        # DeepSpeed marks a norm that is not finite with -1
        return sum(norm**2 for norm in norms) ** 0.5 if min(norms) >= 0 else float("nan")

    def where_not_finite(self) -> str | None:
        """The expert and the name of the first trained parameter whose gradient is not finite; by all ranks, before
        `step` or `discard`."""
        from deepspeed.utils import safe_get_full_grad

        found = None
        for expert, parameters in self._parameters.items():
            for name, parameter in parameters.items():
                gradient = safe_get_full_grad(parameter) if self.zero_stage else parameter.grad
                if found is None and gradient is not None and not torch.isfinite(gradient).all():
                    found = f"{name} of the {expert.replace('_', '-')} expert"
        return found

    def step(self, learning_rate: float) -> None:
        """Clips the gradient and updates the parameters."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        for adaptation in self.adaptations.values():
            adaptation.moved = True

    def discard(self) -> None:
        """Drops the accumulated gradients of an update that is not to be made; by all ranks."""
        self._remaining = 0
        for parameter in self.parameters:
            parameter.grad = None
        self._reduce()
        optimizer = self._engine.optimizer
        optimizer.zero_grad()
        if self.zero_stage in (1, 2):
            # ZeRO keeps the reduced gradients elsewhere, and adds to them otherwise. Others hold the same dict.
            optimizer.micro_step_id = -1
            optimizer.averaged_gradients.update(dict.fromkeys(optimizer.averaged_gradients))

    @contextmanager
    def gathered(self, base: bool = False) -> Iterator[None]:
        """Inside, every rank holds all weights of the networks that train (with `base`, of what `Adaptation.base`
        runs) and may run them by itself; without gradient."""
        if self.zero_stage < 3:
            yield
            return
        import deepspeed

        weights = []
        for adaptation in self.adaptations.values():
            network = adaptation.networks[-1] if base else adaptation.expert
            weights += list(network.parameters())
            if network is not adaptation.expert:
                # The expert is still what is called: its own hook looks at its own weights, not at those of its blocks.
                weights += list(adaptation.expert.parameters(recurse=False))
        with deepspeed.zero.GatheredParameters(weights):
            # The networks' own hooks would give the weights up again after their first use.
            for weight in weights:
                weight.ds_active_sub_modules.add(_HELD)
            try:
                yield
            finally:
                for weight in weights:
                    weight.ds_active_sub_modules.discard(_HELD)

    def _reduce(self) -> None:
        """Ends the accumulation: averages the gradients over the ranks."""
        optimizer = self._engine.optimizer
        if self._shares > 1:
            # DeepSpeed averages over all ranks. The loss must stay: it would take the adjoint of the latents with it.
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(self._shares)
        if self.zero_stage in (1, 2):
            for parameter in self.parameters:
                if parameter.grad is None:
                    # Every rank reduces the same parameters, whatever its samples reached.
                    parameter.grad = torch.zeros_like(parameter)
        if self.zero_stage == 3:
            # What no backward pass reached keeps the gradient of the update before otherwise.
            optimizer.grad_partitions_flat_buffer.zero_()
            if optimizer.offload_optimizer:
                for flat in optimizer.fp32_partitioned_groups_flat:
                    flat.grad.zero_()
        self._accumulating.close()


_LARGEST_BUCKET = 500_000_000  # parameters, DeepSpeed's own default
_HELD = "held by the engine"  # stands for a module that still needs the weight


def _deepspeed_config(config: Config, num_parameters: int) -> dict[str, Any]:
    settings = config.deepspeed
    pinned = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    # The buffer that gradients are reduced in is as long as this, whatever the gradients: by default 2 GB.
    zero: dict[str, Any] = {"stage": settings.zero_stage, "reduce_bucket_size": min(num_parameters, _LARGEST_BUCKET)}
    if settings.offload_optimizer and settings.zero_stage:
        zero["offload_optimizer"] = pinned
    if settings.zero_stage == 3:
        zero["stage3_param_persistence_threshold"] = 0
        if settings.offload_parameters:
            zero["offload_param"] = pinned
    return {
        "train_micro_batch_size_per_gpu": config.train.per_device_train_batch_size,
        # Backward passes are counted here, not there: see begin_update.
        "gradient_accumulation_steps": 1,
        # Always written: without it DeepSpeed clips at 1.0.
        "gradient_clipping": config.train.max_grad_norm,
        "zero_optimization": zero,
        # torch's AdamW is fast enough on the CPU and needs no compiler.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
