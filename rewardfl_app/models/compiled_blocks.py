"""Transformer blocks that run as compiled code.

Each block is compiled in place, so modules, parameters and their names stay as they are. PyTorch keeps compiled code by
the source of `forward`: blocks of one kind share it, those of the other expert, too. Another graph is made for another
size of the inputs, with or without gradient, and for other adapters that are on.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rewardfl_app.config.problems import ConfigError, Problem

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

# For each size of videos and batch about four; PyTorch's own limit of 8 would leave the blocks as they are beyond it.
_MOST_GRAPHS = 64


def compile_in(network: WanTransformer3DModel, device: torch.device) -> None:
    """Has the blocks compiled where they first run. Raises ConfigError where nothing can be compiled."""
    check(device)
    for block in network.blocks:
        block.compile(dynamic=False, recompile_limit=_MOST_GRAPHS)


def are_in(network: WanTransformer3DModel) -> bool:
    """Whether the blocks of a network are compiled; those of a copy are not."""
    return network.blocks[0]._compiled_call_impl is not None


def check(device: torch.device) -> None:
    """Compiles and runs a small function. Raises ConfigError saying why that does not work here."""
    _check(device.type)


def is_of_compiler(error: BaseException) -> bool:
    """Whether an error comes from compiling, not from what is compiled."""
    kinds = (kind.__module__ for kind in type(error).__mro__)
    return any(module.startswith(("torch._dynamo.", "torch._inductor.")) for module in kinds)


@cache
def _check(device: str) -> None:
    # A graph that is pulled back twice must keep its buffers. Set like this, the option holds in every thread: the
    # backward pass on a GPU runs in one of its own, where what is set in the ordinary way does not count.
    torch._functorch.config._config["donated_buffer"].default = False
    numbers = torch.arange(64.0, device=device)
    try:
        torch.compile(_small, dynamic=False)(numbers)
    except Exception as error:  # the compilers behind it raise what they like
        needed = "a C++ compiler such as g++" if device == "cpu" else "Triton and a C compiler"
        reason = " ".join(str(error).split("\n\n", 1)[0].split())
        message = f"Nothing can be compiled here ({reason}): install {needed}, or turn this off."
        raise ConfigError([Problem("model.compile_blocks", message)]) from error


def _small(numbers: Tensor) -> Tensor:
    return nn.functional.silu(numbers) * 2
