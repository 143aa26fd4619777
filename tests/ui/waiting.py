"""Waiting for what a page shows, however busy the machine is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def until(page: Any, condition: Callable[[], object], seconds: float = 240.0) -> None:
    """Return as soon as the condition holds; fail with what the page shows if it never does."""
    for _ in range(int(seconds * 10)):
        if condition():
            return
        page.wait_for_timeout(100)
    assert condition(), page.locator("#pages").inner_text()[:2000]


def num_points(page: Any, chart: str) -> int:
    """Number of points of a chart's first line, from its path; 0 without one."""
    path = page.locator(f"[data-chart='{chart}'] path.ch-line").first
    return len(re.findall("[ML]", path.get_attribute("d") or "")) if path.count() else 0
