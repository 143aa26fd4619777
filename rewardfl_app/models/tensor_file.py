"""Safetensors files: opened as plain files alone, since the library's reader would wait for ever at a named pipe, and
written tensor by tensor, since its writer wants all of them in memory.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from rewardfl_app.config.plain_file import open_plain

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """The file as `safe_open` gives it, for tensors in CPU memory. Raises OSError and SafetensorError."""
    open_plain(path).close()
    with safe_open(path, framework="pt", device="cpu") as opened:
        yield opened


def write_tensors(
    path: Path, wanted: Mapping[str, Tensor], make: Callable[[str], Tensor], metadata: Mapping[str, str]
) -> None:
    """Writes a file with one tensor at a time in memory.

    Args:
        wanted: what there is to write by name, for its shape and type (float32, bfloat16); without memory will do.
        make: gives the tensor of a name.
    Raises: OSError.
    """
    # The largest type first, so that every tensor starts at a multiple of its own.
    names = sorted(wanted, key=lambda name: (-wanted[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        tensor = wanted[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            tensor = make(name)
            if (tensor.shape, tensor.dtype) != (wanted[name].shape, wanted[name].dtype):
                raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, not what was announced")
            file.write(memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy()))
