"""The fuzz tests run as many cases as they promise: every test counts its own (`Tally`), and this is their sum."""

from __future__ import annotations

import ast
from pathlib import Path

from budget import DRAWN, LEAST


def test_at_least_so_many_cases_are_drawn() -> None:
    total = sum(DRAWN.values())
    print(f"{total} cases are drawn: {DRAWN}")
    assert total >= LEAST


def test_every_promise_is_kept_by_a_test_that_counts() -> None:
    counted = [
        node.args[0].value
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Tally"
        if isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(counted) == sorted(DRAWN)
