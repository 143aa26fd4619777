"""The chromium of this machine, and how it is started for the tests and measurements of the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def program() -> str | None:
    """Path of the browser; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser() -> Iterator[Any]:
    """A headless chromium; the test is skipped where there is none."""
    path = program()
    if path is None:
        if os.environ.get("REWARDFL_REQUIRE_BROWSER"):
            pytest.fail("REWARDFL_REQUIRE_BROWSER is set and there is no chromium")
        pytest.skip("no chromium on this machine; `apt install chromium` runs these tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield launched
        launched.close()
