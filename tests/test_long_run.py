"""A long run in small: what trainer and app open, read and remember does not grow with its length. Work is counted, not
time; `measure_day.py` measures the processes themselves.
"""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import day_trainer
import fake_runs
import pytest

from rewardfl_app.config import files, validation
from rewardfl_app.runs import columns, control, jsonlines
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.status import read_status
from rewardfl_app.training.ranks import Ranks
from rewardfl_app.training.trainer import Trainer
from rewardfl_app.ui.session import Session

STEPS = 3000
EVERY = 75
VIDEOS = 5  # of an evaluation: 200 samples
HALF = STEPS // 2
MEASURED = (3 * STEPS // 4, STEPS)


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RunFolder, Trainer]]:
    """The real trainer without networks, in this process, with a request at every evaluation."""
    mapping = fake_runs.mapping(tmp_path / "files")
    mapping["train"] |= {"max_steps": STEPS, "save_steps": STEPS // 4}
    mapping["evaluation"] = {"eval_steps": EVERY, "num_samples": VIDEOS}
    config = validation.build(mapping)
    run = RunFolder.create(tmp_path / "runs", "long")
    files.dump(config, run.config)
    monkeypatch.setattr("rewardfl_app.training.trainer.Loader", None)  # put back afterwards
    monkeypatch.setattr(Ranks, "connect", None)
    # The disk is not what is tested here.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    made: list[day_trainer.PaintedVideos] = []
    day_trainer.use_no_networks(0.0, made)
    yield run, Trainer(run, config, Ranks())
    for videos in made:
        videos.forget()


def _at(steps: list[int], act: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something when the trainer begins with these updates, between two of them."""
    update = day_trainer.PacedStep.update

    def watched(self: Any, taken: Any, step: int, rate: float) -> dict[str, float]:
        if step in steps:
            act(step)
        return update(self, taken, step, rate)

    monkeypatch.setattr(day_trainer.PacedStep, "update", watched)


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_long_run_costs_trainer_and_page_no_more_at_its_end(
    trainer: tuple[RunFolder, Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, training = trainer
    session = Session(run.path.parent, run.id)
    session.update()
    num_bytes = 0
    pread = os.pread

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal num_bytes
        found = pread(descriptor, size, offset)
        if threading.current_thread() is threading.main_thread():
            num_bytes += len(found)
        return found

    monkeypatch.setattr(os, "pread", counted)
    read_by_trainer: list[int] = []
    read_by_page: list[int] = []
    memory: list[int] = []
    handles: list[int] = []

    def look(step: int) -> None:
        nonlocal num_bytes
        control.request(run, "set_field", field="train.learning_rate", value=1e-4 * (1 + step % 7))
        read_by_trainer.append(num_bytes)
        session.update()
        num_bytes = 0
        session.update()
        read_by_page.append(num_bytes)
        if step == HALF:
            tracemalloc.start()
        if step >= HALF:
            handles.append(_handles())
        if step in MEASURED:
            gc.collect()
            memory.append(tracemalloc.get_traced_memory()[0])
        num_bytes = 0

    _at(list(range(EVERY, STEPS + 1, EVERY)), look, monkeypatch)
    monkeypatch.setattr(columns, "MAX_KEPT", 400)  # as many steps are few enough to be all kept otherwise
    try:
        assert training.train() == "completed"
    finally:
        tracemalloc.stop()

    status = read_status(run)
    assert status is not None and status.step == STEPS
    assert len(list(run.samples.glob("step_*/*/faces.json"))) == STEPS // EVERY * VIDEOS
    assert len(jsonlines.read_all(run.metrics)) >= STEPS + STEPS // EVERY
    # Between two evaluations: two looks at the requests of each step, and nothing of the metrics.
    assert max(read_by_trainer[1:]) <= 20 * EVERY, "the trainer reads its own records again"
    assert max(read_by_page) < 100, "a quiet tick looks at the last byte of followed files alone"
    assert max(handles) - handles[0] <= 1, handles  # fewer: what tests before this one left is let go
    grown = memory[1] - memory[0]
    assert grown < 150_000, f"{grown} bytes more in the last quarter"
