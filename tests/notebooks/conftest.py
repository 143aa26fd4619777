"""A copy of the notebooks to run in, and an end to whatever they leave running."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import notebook_run
import pytest
from chromium import browser

from rewardfl_app.supervisor import queue, supervisor


@pytest.fixture
def notebooks(tmp_path: Path) -> Iterator[Path]:
    """The folder of the notebooks, copied; no run that was started in it outlives the test."""
    folder = notebook_run.copied(tmp_path / "notebooks")
    yield folder
    runs_dir = folder / "runs"
    for run in queue.queued(runs_dir):
        queue.remove(run)
    for run in queue.active(runs_dir):
        supervisor.stop(run, now=True)
        supervisor.wait(run)


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a headless chromium; the test is skipped where there is none."""
    with browser() as launched:
        opened = launched.new_page(viewport={"width": 1440, "height": 1000})
        opened.set_default_timeout(60_000)
        yield opened
        if shots := os.environ.get("REWARDFL_SCREENSHOTS"):
            opened.screenshot(path=f"{shots}/last.png")
