"""The tokens of one video divided over several processes, which compute a transformer together.

Each keeps a part of the tokens through all blocks. For self-attention they trade it for all tokens of a part of the
heads (Ulysses), as diffusers does it; all get the whole result. Every process takes the gradient of the same scalar of
that result, and finds the part that its own tokens have in it: the gradients of the weights add up over the processes.
That of the latents is added up here, so that each has it whole.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from diffusers.hooks.context_parallel import AllGatherFunction
from diffusers.models._modeling_parallel import ContextParallelConfig, ParallelConfig
from diffusers.models.transformers.transformer_wan import WanAttention
from torch import Tensor, nn

from rewardfl_app.models.sources import WeightsError

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
    from torch.distributed import ProcessGroup


def divide(network: WanTransformer3DModel, group: ProcessGroup) -> None:
    """Has the processes of `group` compute this network together, each with its part of the tokens, from here on.

    All of them must run it, forward and back, equally often and on the same latents. Raises WeightsError where the
    attention heads cannot be divided; running it raises ValueError where the tokens cannot.
    """
    size, rank = group.size(), group.rank()
    heads = network.config["num_attention_heads"]
    if heads % size:
        raise WeightsError(f"deepspeed.context_parallel: {heads} attention heads cannot be divided by {size}")

    def own(whole: Tensor, axis: int = 1) -> Tensor:
        if whole.shape[axis] % size:
            raise ValueError(f"{whole.shape[axis]} tokens cannot be divided by context_parallel {size}")
        return whole.chunk(size, axis)[rank]

    def embed(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (_SummedBack.apply(inputs[0], group),)

    def place(module: nn.Module, inputs: Any, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return own(angles[0]), own(angles[1])

    def time(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if named.get("timestep_seq_len") is None:  # one time for all tokens
            return inputs, named
        times = own(inputs[0].unflatten(0, (-1, named["timestep_seq_len"])))
        return (times.flatten(), *inputs[1:]), {**named, "timestep_seq_len": times.shape[1]}

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return own(inputs[0]), *inputs[1:]

    def leave(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return AllGatherFunction.apply(output.contiguous(), 1, group)

    # Hooks of torch on the parts, which a deep copy of the network keeps for its own parts; diffusers' replace
    # `forward` by functions of the original's.
    network.patch_embedding.register_forward_pre_hook(embed)
    network.rope.register_forward_hook(place)
    network.condition_embedder.register_forward_pre_hook(time, with_kwargs=True)
    network.blocks[0].register_forward_pre_hook(enter)
    network.proj_out.register_forward_hook(leave)
    shared = _Shared(context_parallel_config=_ulysses(group))
    for module in network.modules():
        if isinstance(module, WanAttention):
            module.processor._parallel_config = shared


class _Shared(ParallelConfig):
    """The same in every copy of a network: a group of processes cannot be copied."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return self


def _ulysses(group: ProcessGroup) -> ContextParallelConfig:
    """What diffusers' `enable_parallelism` makes, which fails without an accelerator and makes groups of its own."""
    config = ContextParallelConfig(ulysses_degree=group.size())
    config._world_size = group.size()
    config._ulysses_mesh = SimpleNamespace(get_group=lambda: group)
    return config


class _SummedBack(torch.autograd.Function):
    """Its input; the gradient is the sum of those of all processes, each of which has that of its tokens alone."""

    @staticmethod
    def forward(ctx: Any, latents: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return latents.view_as(latents)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(whole, group=ctx.group)
        return whole, None
