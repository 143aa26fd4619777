"""JSON files that a reader never sees half-written."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardfl_app.config.plain_file import read_plain
from rewardfl_app.runs import durable, jsontext


def plain(value: object) -> Any:
    """The value as JSON knows it: NaN and infinity become null, tuples lists, paths strings, array scalars numbers."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy and torch, without importing either
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_json_atomic(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """Replace the file as a whole, on the disk when this returns.

    A reader sees the old content or the new one. Raises OSError where it cannot be written.
    """
    path = Path(path)
    text = json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        durable.put_in_place(Path(temporary), path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file; None when the file is missing, is not JSON, or holds something else than an object."""
    try:
        value = jsontext.parse(read_plain(path))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
