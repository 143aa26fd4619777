"""The sessions of open pages; those of closed ones are gone."""

from __future__ import annotations

import gc
import http.client
import json
import secrets
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from page_run import FakeRun

from rewardfl_app.ui import open_pages
from rewardfl_app.ui.app import build_app
from rewardfl_app.ui.open_pages import OpenPages
from rewardfl_app.ui.session import PARTS, Session


def test_a_page_keeps_its_session_until_it_is_closed(tmp_path: Path) -> None:
    pages = OpenPages(tmp_path)
    one = pages.open("one")
    assert pages.find("one") is one and pages.find("two") is None and pages.find(None) is None
    assert pages.open("one") is not one and len(pages) == 1
    pages.close("one")
    pages.close("one")
    assert pages.find("one") is None and len(pages) == 0
    assert pages.open(None) is not None and len(pages) == 0


def test_the_page_that_asked_longest_ago_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_pages, "MOST", 2)
    pages = OpenPages(tmp_path)
    for page in ("one", "two"):
        pages.open(page)
    pages.find("one")
    pages.open("three")
    assert [pages.find(page) is not None for page in ("one", "two", "three")] == [True, False, True]


def test_the_app_forgets_pages_that_are_closed(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, prompts=("one",))
    run.step(1)
    app = build_app(tmp_path)
    app.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, inbrowser=False)
    try:
        before = _sessions()
        pages = [_Page(app) for _ in range(8)]
        assert all(len(page.load()) == len(PARTS) for page in pages)
        assert _sessions() == before + 8
        for page in pages:
            page.close()
        deadline = time.monotonic() + 60
        while _sessions() > before and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _sessions() == before
    finally:
        app.close()


class _Page:
    """What a browser holds open of a page, and asks when it has loaded it."""

    def __init__(self, app: Any) -> None:
        self._id = secrets.token_hex(5)
        self._port = app.server_port
        self._load = next(number for number, each in app.fns.items() if any(to[1] == "load" for to in each.targets))
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        self._connection.request("GET", f"/gradio_api/heartbeat/{self._id}")
        self._answer = self._connection.getresponse()
        self._answer.read(5)

    def load(self) -> list[Any]:
        body = {"data": [{"run": None}], "fn_index": self._load, "session_hash": self._id}
        address = f"http://127.0.0.1:{self._port}/gradio_api/run/predict"
        request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return list(json.load(answer)["data"])

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


def _sessions() -> int:
    gc.collect()
    return sum(type(found) is Session for found in gc.get_objects())
