from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardfl_app.runs import typed
from rewardfl_app.runs.jsontext import DEEPEST, parse, whole_characters

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_has_is_read_as_it_is(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) == whole_characters(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NaN", None),
        ("-Infinity", None),
        ("1e400", None),
        ("-1E+400", None),
        ("1e-400", 0.0),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("9" * 5000, None),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"a\\ud83d"', "a?"),
        ('"NaN 1e400"', "NaN 1e400"),
        ("0.00012345678901234567890", 0.00012345678901234567890),
    ],
)
def test_what_json_does_not_have_is_gone(text: str, value: object) -> None:
    assert parse(f'{{"a": {text}}}'.encode()) == {"a": value}


def test_lists_in_lists_have_an_end() -> None:
    assert parse(b"[" * DEEPEST + b"]" * DEEPEST)
    for text in (
        b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
        b'{"a":' * 100_000,
        b'["' + b"[" * 500 + b'"' + b"[" * 100,
    ):
        with pytest.raises(ValueError):
            parse(text)
    many = b'{"a": "' + b"[" * 500 + b'", "b": [' + b"[1], " * 500 + b"[2]]}"
    assert len(parse(many)["b"]) == 501


def test_a_field_is_of_its_kind_or_missing() -> None:
    assert [typed.whole(value) for value in (3, 0, -1, True, 1.0, "3", None, 2**53 + 1)] == [3, 0, *[None] * 6]
    assert [typed.text(value) for value in ("a", 3, None, ["a"])] == ["a", "", "", ""]
    assert [typed.seconds(value) for value in (1, 1.5, -1, 1e30, True, "1")] == [1.0, 1.5, None, None, None, None]
    assert [typed.mapping(value) for value in ({"a": 1}, [], None)] == [{"a": 1}, {}, {}]
