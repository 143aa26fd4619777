"""A run begun in a cell is followed in the app, and one begun in the app is found in a cell."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from app_process import AppProcess
from waiting import until

from rewardfl_app import find, follow, list_runs, start
from rewardfl_app.config import files

pytestmark = pytest.mark.browser


@pytest.fixture
def app(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppProcess]:
    """The app, and cells, with a stand-in where the trainer would be that goes on until it is stopped."""
    for name, value in fake_runs.trainer_environment("slow").items():
        monkeypatch.setenv(name, value)
    with AppProcess(runs_dir) as process:
        yield process


def test_begun_in_a_cell_and_stopped_on_the_page(app: AppProcess, watched: Any, runs_dir: Path, tmp_path: Path) -> None:
    page = watched.open(app.address)
    files.dump(fake_runs.config(tmp_path / "files"), tmp_path / "mine.yaml")
    run = start(tmp_path / "mine.yaml", name="from a cell", runs_dir=runs_dir)
    until(page, lambda: page.locator(".hd-runs option:checked", has_text="from a cell").count())
    assert [record["step"] for record in islice(follow(run), 5)] == [0, 1, 2, 3, 4]
    page.locator(".hd-stop").click()
    page.get_by_role("button", name="Save and stop").click()
    until(page, lambda: run.state.is_finished)
    assert run.state.state == "stopped"


def test_begun_on_the_page_and_found_in_a_cell(app: AppProcess, watched: Any, runs_dir: Path) -> None:
    page = watched.open(app.address)
    page.get_by_label("Name").fill("from the page")
    page.get_by_role("button", name="Start", exact=True).click()
    until(page, lambda: list_runs(runs_dir))
    run = find("from the page", runs_dir)
    until(page, lambda: run.state.step > 0)
    assert next(follow(run))["step"] == 0 and run.settings.model.model_name == "pocket"
    run.stop()
    page.locator(".hd-state", has_text="Stopped").wait_for()
