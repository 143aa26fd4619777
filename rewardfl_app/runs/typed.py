"""Fields of records that another program, or a person, may have written: a value of the right kind, or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardfl_app.runs.change import number

_LARGEST_WHOLE = 2**53  # what a browser's number holds exactly
_LARGEST_SECONDS = 1e11  # some three thousand years


def text(value: object) -> str:
    """The value if it is text, else ""."""
    return value if isinstance(value, str) else ""


def whole(value: object) -> int | None:
    """The value if it is a whole number from 0 on that a browser can hold, else None."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_WHOLE:
        return None
    return value


def seconds(value: object) -> float | None:
    """The value if it is a time, or a stretch of time, in seconds, else None."""
    known = number(value)
    return known if known is not None and 0 <= known <= _LARGEST_SECONDS else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
