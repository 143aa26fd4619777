"""Opening a safetensors file, a plain file alone: its reader would wait for ever at a named pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from rewardfl_app.config.plain_file import open_plain


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """The file as `safe_open` gives it, for tensors in CPU memory. Raises OSError and SafetensorError."""
    open_plain(path).close()
    with safe_open(path, framework="pt", device="cpu") as opened:
        yield opened
