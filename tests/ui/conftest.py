"""Fixtures of the page's tests: a browser, and a page that fails its test when it complains or looks outside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The modules beside the tests (page_run, app_process) are imported by name.
sys.path.insert(0, str(Path(__file__).parent))
from app_process import AppProcess  # noqa: E402
from chromium import browser  # noqa: E402

from rewardfl_app.runs.jsonfile import read_json  # noqa: E402
from rewardfl_app.supervisor import queue, supervisor  # noqa: E402

# What a browser says while the app is down or being restarted; no fault of the page.
OUTAGE = (
    "ERR_CONNECTION_REFUSED",
    "ERR_CONNECTION_RESET",
    "ERR_EMPTY_RESPONSE",
    "ERR_SOCKET_NOT_CONNECTED",
    "ERR_INCOMPLETE_CHUNKED",
    "ERR_CONTENT_LENGTH_MISMATCH",
    "Failed to fetch",
)


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """An empty runs folder."""
    path = tmp_path / "runs"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def ends_runs(tmp_path: Path) -> Iterator[None]:
    """Whatever a test started or left in a queue, no trainer outlives it."""
    yield
    for runs_dir in (path for path in tmp_path.iterdir() if path.is_dir()):
        for run in queue.queued(runs_dir):
            queue.remove(run)
        for run in queue.active(runs_dir):
            if (read_json(run.process) or {}).get("pid") != os.getpid():  # else the test plays the trainer
                supervisor.stop(run, now=True)
                supervisor.wait(run)


@pytest.fixture
def app(runs_dir: Path) -> Iterator[AppProcess]:
    """The app over the runs folder."""
    with AppProcess(runs_dir) as process:
        yield process


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless chromium; the test is skipped where there is none."""
    with browser() as launched:
        yield launched


class WatchedPage:
    """A page of the browser with everything it complained about."""

    def __init__(self, browser: Any) -> None:
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self.context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(error.stack or str(error)))
        self.page.on("request", self._request)

    def open(self, address: str) -> Any:
        """Open the app and wait until it shows itself."""
        self.page.goto(address)
        self.page.wait_for_selector(".hd-brand")
        return self.page

    def _console(self, message: Any) -> None:
        if message.type == "error" and not any(word in message.text for word in OUTAGE):
            self.complaints.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.outside.append(request.url)


@pytest.fixture
def watched(chromium: Any) -> Iterator[WatchedPage]:
    """A fresh page; afterwards it must not have complained, nor asked for anything outside this machine."""
    watched = WatchedPage(chromium)
    yield watched
    watched.context.close()
    assert watched.complaints == []
    assert watched.outside == []
