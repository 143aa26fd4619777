"""What a tick costs in a full runs folder: work is counted, not time. `bench tick` measures the time."""

from __future__ import annotations

import gc
import json
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewardfl_app.bench import full_folder
from rewardfl_app.ui.session import PARTS, Session

NUM_STEPS = 600


class Work:
    """Counts the files of a folder that are opened, and the bytes read from followed files, while it is `on`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.on = False
        self.opened: list[str] = []
        self.num_bytes = 0
        self._folder = str(folder)
        read = os.pread

        def counted(descriptor: int, size: int, offset: int) -> bytes:
            found = read(descriptor, size, offset)
            self.num_bytes += len(found) if self.on else 0
            return found

        monkeypatch.setattr(os, "pread", counted)
        sys.addaudithook(self._hear)  # cannot be taken away again; it is deaf once `on` is False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event == "open" and str(arguments[0]).startswith(self._folder):
            self.opened.append(str(arguments[0]))

    def of(self, act: Callable[[], Any]) -> tuple[int, int]:
        """(files opened, bytes read) by an action."""
        self.opened, self.num_bytes, self.on = [], 0, True
        try:
            act()
        finally:
            self.on = False
        return len(self.opened), self.num_bytes


def _settled(runs_dir: Path) -> Session:
    session = Session(runs_dir)
    session.update()
    session.update()
    return session


def _sent(session: Session) -> dict[str, Any]:
    values = zip(PARTS, session.update(), strict=True)
    return {name: value for name, value in values if "__type__" not in value}


def test_a_quiet_tick_opens_as_few_files_in_a_full_folder_as_in_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for name, num_runs, num_steps in (("few", 2, 20), ("many", 50, NUM_STEPS)):
        runs_dir = tmp_path / name
        full_folder.write(runs_dir, num_runs, num_steps, num_samples=200 if num_runs > 2 else 10)
        work, session = Work(monkeypatch, runs_dir), _settled(runs_dir)
        opened, num_bytes = work.of(session.update)
        assert num_bytes < 200, "a quiet tick looks at the last byte of followed files alone"
        counts.append(opened)
    assert counts[1] <= counts[0] <= 40


def test_a_tick_with_a_step_reads_that_step_and_sends_no_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_dir = tmp_path / "runs"
    living = full_folder.write(runs_dir, 10, NUM_STEPS, num_samples=200)
    work, session = Work(monkeypatch, runs_dir), _settled(runs_dir)
    before = living.folder.metrics.stat().st_size
    living.step(NUM_STEPS + 1)
    written = living.folder.metrics.stat().st_size - before
    opened, num_bytes = work.of(session.update)
    assert opened <= 60 and num_bytes < 4 * written + 200
    living.step(NUM_STEPS + 2)
    sent = _sent(session)
    assert {"header", "curves"} <= set(sent)
    own = {name: value for name, value in sent.items() if name in ("header", "top", "curves", "sample", "activity")}
    assert len(json.dumps(own)) < 20_000


def test_five_hundred_ticks_leave_no_memory_behind(tmp_path: Path) -> None:
    living = full_folder.write(tmp_path, 50, 100, num_samples=50)
    session = _settled(tmp_path)
    for _ in range(50):
        session.update()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for tick in range(500):
            if tick % 5 == 0:
                living.status("training", 100, f"tick {tick}")
            session.update()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 150_000, f"{after - before} bytes more after 500 ticks"


def test_a_second_page_reads_no_curve_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    living = full_folder.write(tmp_path, 3, NUM_STEPS, num_samples=10)
    _settled(tmp_path)
    work = Work(monkeypatch, tmp_path)
    _, num_bytes = work.of(lambda: Session(tmp_path).update())
    assert num_bytes < living.folder.metrics.stat().st_size / 4
