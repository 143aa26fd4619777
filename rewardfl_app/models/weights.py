"""Weight files to modules, strictly: every key present, of the right shape, and nothing left over.

`from_pretrained` fills a missing key with random numbers and a warning; here it is an error that names the file and
the key.
Original Wan files (separate q/k/v/o names, `.pth` for the VAE and the text encoder) are converted on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError
from torch import Tensor, nn

from rewardfl_app.config.plain_file import open_plain, read_plain
from rewardfl_app.models.sources import Source, WeightsError
from rewardfl_app.models.tensor_file import open_tensors
from rewardfl_app.runs.jsontext import parse

Module = TypeVar("Module", bound=nn.Module)

_PYTORCH = (".pth", ".pt", ".bin")
_LISTED = 8  # keys that a message names
_CACHE_LINE = 64  # bytes, at whose multiples PyTorch begins what it makes
LARGEST_CONFIG = 2**20  # bytes of a config.json
# Counts of a configuration that layers are made by, and sizes that memory is taken for before a weight is looked at.
_LAYERS = ("num_layers", "num_decoder_layers", "num_res_blocks")
_LARGEST = {"rope_max_seq_len": 2**16, "attention_head_dim": 2**12}


def read_state(source: Source) -> dict[str, Tensor]:
    """All tensors of a source in CPU memory. Raises WeightsError naming the file that is missing, truncated or of
    another format."""
    state: dict[str, Tensor] = {}
    for file in source.files:
        for key, tensor in _tensors(source.network, file):
            if key in state:
                raise WeightsError(f"{source.network}: {file} has the key {key}, which another of its files has, too")
            state[key] = tensor
    if not state:
        raise WeightsError(f"{source.network}: {source.place} holds no tensors")
    return state


def check(source: Source) -> None:
    """Looks at the head of every file, which tells a truncated one without reading it. Raises WeightsError."""
    for file in source.files:
        if file.suffix in _PYTORCH:
            continue
        try:
            with open_tensors(file):
                pass
        except (SafetensorError, OSError) as error:
            raise _damaged(source.network, file, error) from error


def _tensors(network: str, file: Path) -> Iterator[tuple[str, Tensor]]:
    if file.suffix in _PYTORCH:
        try:
            open_plain(file).close()  # torch would wait for ever at a named pipe
            loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch raises half a dozen types for a damaged archive
            raise WeightsError(f"{network}: {file} is damaged or not a PyTorch weight file ({_line(error)})") from error
        if not isinstance(loaded, dict) or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
        ):
            raise WeightsError(f"{network}: {file} is not a dictionary of tensors by name")
        yield from loaded.items()
        return
    try:
        with open_tensors(file) as opened:
            for key in opened.offset_keys():
                yield key, opened.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise _damaged(network, file, error) from error


def _damaged(network: str, file: Path, error: BaseException) -> WeightsError:
    return WeightsError(f"{network}: {file} is truncated or not a safetensors file ({_line(error)})")


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


def read_config(source: Source) -> dict[str, Any]:
    """The config.json beside the weights, or {} if there is none. Raises WeightsError if it is not JSON."""
    if source.config is None:
        return {}
    try:
        config = parse(read_plain(source.config, LARGEST_CONFIG))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{source.network}: {source.config} is not JSON ({_line(error)})") from error
    return config if isinstance(config, dict) else {}


def empty_network(source: Source, config: dict[str, Any], num_tensors: int, make: Callable[[], Module]) -> Module:
    """The network that `make` builds from `config`, without memory for its parameters; buffers are real.

    Raises WeightsError when the configuration describes none, or a larger one than `num_tensors` tensors can fill.
    """
    place = source.config or source.place
    limits = {**dict.fromkeys(_LAYERS, num_tensors), **_LARGEST}
    for name, most in limits.items():
        value = config.get(name)
        if isinstance(value, int | float) and not 0 <= value <= most:
            raise WeightsError(f"{source.network}: {place} has {name} {value:g}: it does not belong to these weights")
    try:
        with init_empty_weights():
            return make()
    except Exception as error:  # what the libraries raise for a wrong value is of any type
        raise WeightsError(f"{source.network}: {place} describes no network ({_line(error)})") from error


def fill(
    module: Module,
    state: dict[str, Tensor],
    source: Source,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    keep_float32: Iterable[str] = (),
    tied: Iterable[str] = (),
    ignored: Iterable[str] = (),
) -> Module:
    """Puts `state` into a module built by `empty_network`, frozen and in eval mode.

    Tensor by tensor: what is in memory beside the module is the one that is being read. `state` is empty afterwards.

    Args:
        dtype: of the parameters, except those with a dotted name part in `keep_float32`.
        device: where the module ends up.
        tied: keys that may be absent because they are the same tensor as another one.
        ignored: endings or parts of keys that may be left over in the files.
    Raises: WeightsError naming the place and the first key that is missing, left over or of another shape.
    """
    expected = module.state_dict()
    missing = sorted(set(expected) - set(state) - set(tied))
    if missing:
        raise WeightsError(f"{source.network}: {source.place} has no key {_listed(missing)}")
    left_over = sorted(key for key in set(state) - set(expected) if not any(part in key for part in ignored))
    if left_over:
        raise WeightsError(
            f"{source.network}: {source.place} has the key {_listed(left_over)}, which this network does not know"
        )
    for key, want in expected.items():
        if key in state and state[key].shape != want.shape:
            raise WeightsError(
                f"{source.network}: {key} in {source.place} has the shape {list(state[key].shape)}, "
                f"expected {list(want.shape)}"
            )
    kept = set(keep_float32)
    for key in expected:
        if key in state:
            wanted = torch.float32 if kept & set(key.split(".")) else dtype
            _put(module, key, _aligned(state.pop(key).to(device, wanted)))
    state.clear()
    for owner in module.modules():  # buffers that no file holds
        for name, buffer in owner._buffers.items():
            owner._buffers[name] = None if buffer is None else buffer.to(device)
    return module.requires_grad_(False).eval()


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor where PyTorch would have put it: on some processors the last bit of a product depends on whether its
    factors begin at a cache line, which what is read from the middle of a file does not, and a copy of it does."""
    return tensor if tensor.data_ptr() % _CACHE_LINE == 0 else tensor.clone()


def _put(module: nn.Module, key: str, tensor: Tensor) -> None:
    path, _, name = key.rpartition(".")
    owner = module.get_submodule(path)
    if name in owner._parameters:
        owner._parameters[name] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[name] = tensor


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more
