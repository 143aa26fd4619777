"""JSON text as every program reads it.

Python's own parser takes more than JSON: NaN and infinity, whole numbers of any length, halves of characters, lists in
lists without an end. None of these can be sent to the page, written again or reckoned with, so `parse` lets none in.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

DEEPEST = 64  # lists and objects in each other; what this project writes has at most eight
# What may be one of those: without it the text goes through the fast parser as it is.
_SUSPICIOUS = re.compile(rb"NaN|Infinity|[eE]\+?\d{3}|\d{19}|\\u[dD][89a-fA-F]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_LARGEST_WHOLE = 2**63 - 1


def parse(text: bytes) -> Any:
    """The value that the UTF-8 text stands for. Raises ValueError when it is none, or is nested more than DEEPEST deep.

    NaN, infinity and numbers beyond those of a float or of 64 bits become None; half a character becomes "?".
    """
    if text.count(b"[") + text.count(b"{") > DEEPEST and _is_deep(text):
        raise ValueError(f"it is nested more than {DEEPEST} deep")
    if not _SUSPICIOUS.search(text):
        return json.loads(text.decode("utf-8"))
    return whole_characters(_careful.decode(text.decode("utf-8")))


def _is_deep(text: bytes) -> bool:
    """Whether brackets are left once DEEPEST times the innermost pairs were taken away."""
    brackets = _STRING.sub(b"", text).translate(None, _NOT_BRACKETS)
    for _ in range(DEEPEST):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _whole(text: str) -> int | None:
    # Longer texts are beyond 64 bits anyway, and Python would take its time or refuse them.
    value = int(text) if len(text) <= 20 else _LARGEST_WHOLE + 1
    return value if abs(value) <= _LARGEST_WHOLE else None


def whole_characters(value: Any) -> Any:
    """The value with "?" for every half of a character (a lone surrogate), which UTF-8 has no bytes for."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    return value


_careful = json.JSONDecoder(parse_float=_finite, parse_int=_whole, parse_constant=lambda _: None)
