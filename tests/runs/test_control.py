"""Requests keep the order in which they were made."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunFolder


def test_requests_keep_their_order_when_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(tmp_path, "x")
    now = time.time_ns()
    asked = []
    for offset in (0, -3600 * 10**9, 10**9, -(10**9)):
        monkeypatch.setattr(time, "time_ns", lambda offset=offset: now + offset)
        asked.append(control.request(run, "save_now"))
    assert [request.id for request in control.pending(run)] == asked
    (run.control / "nonsense-x.json").write_text("{}")
    (run.control / f"{'9' * 40}-x.json").write_text("{}")
    assert control.request(run, "save_now") > asked[-1]
