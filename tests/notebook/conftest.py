"""Runs for the widgets: by the stand-in trainer, or written by the test itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from written_runs import Start, WrittenRun

from rewardfl_app import Run, list_runs
from rewardfl_app import start as start_run
from rewardfl_app.config.schema import Config
from rewardfl_app.notebook import ticker
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import process


@pytest.fixture(autouse=True)
def no_widget_looks_on() -> Iterator[None]:
    """After a test its widgets are as if they were closed."""
    yield
    for each in list(ticker._all):
        each.stop()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return fake_runs.config(tmp_path / "files")


@pytest.fixture
def runs_dir(tmp_path: Path) -> Iterator[Path]:
    """The folder of the runs; whatever still runs at the end is ended."""
    yield tmp_path / "runs"
    for run in list_runs(tmp_path / "runs"):
        record = read_json(run.folder.process)
        if record is not None and record.get("role") == "wrapper":
            process.end_session(record, 0.0)


@pytest.fixture
def start(config: Config, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a run whose trainer behaves as named."""

    def begin(behaviour: str = "completes", **options: Any) -> Run:
        for name, value in fake_runs.trainer_environment(behaviour).items():
            monkeypatch.setenv(name, value)
        return start_run(config, runs_dir=runs_dir, **options)

    return begin


@pytest.fixture
def written(runs_dir: Path) -> WrittenRun:
    return WrittenRun.create(runs_dir)
