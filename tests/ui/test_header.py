"""The header's list of runs: which one is shown, what goes on beside it, what waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_run import FakeRun

from rewardfl_app.runs import archive, queue_file
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.status import Status, write_status
from rewardfl_app.ui import header
from rewardfl_app.ui.run_view import RunView


def _queued(runs_dir: Path, *names: str) -> list[RunFolder]:
    runs = [RunFolder.create(runs_dir, name) for name in names]
    for run in runs:
        write_status(run, Status("queued", total=40))
    queue_file.write(runs_dir, runs)
    return runs


def _payload(runs_dir: Path, run: RunFolder | None) -> dict[str, Any]:
    view = RunView(run) if run else None
    if view:
        view.look()
    return header.payload(header.RunList(runs_dir).rows(), view)


def test_the_run_that_goes_on_is_offered_while_another_is_looked_at(tmp_path: Path) -> None:
    living = FakeRun(tmp_path, "living")
    ended = FakeRun(tmp_path, "ended")
    ended.finish()
    waiting = _queued(tmp_path, "one", "two")
    shown = _payload(tmp_path, ended.folder)
    assert shown["active"]["id"] == living.folder.id and shown["queued"] == 2
    assert _payload(tmp_path, living.folder)["active"] is None
    queued = _payload(tmp_path, waiting[1])
    assert queued["state"] == "queued" and not queued["can_stop"] and "Number 2 of 2" in queued["message"]


def test_one_that_goes_on_is_shown_before_one_that_waits_and_the_newest(tmp_path: Path) -> None:
    ended = FakeRun(tmp_path, "ended")
    ended.finish()
    runs = header.RunList(tmp_path)
    assert header.choose(runs.rows(), None) == ended.folder.id
    first, _ = _queued(tmp_path, "one", "two")
    assert header.choose(runs.rows(), None) == first.id
    living = FakeRun(tmp_path, "living")
    assert header.choose(runs.rows(), None) == living.folder.id
    assert header.choose(runs.rows(), ended.folder.id) == ended.folder.id


def test_runs_that_are_put_away_are_left_out_unless_looked_at(tmp_path: Path) -> None:
    away, kept = FakeRun(tmp_path, "away"), FakeRun(tmp_path, "kept")
    for run in (away, kept):
        run.finish()
    archive.archive(away.folder)
    assert [row["name"] for row in _payload(tmp_path, kept.folder)["runs"]] == ["kept"]
    assert [row["name"] for row in _payload(tmp_path, away.folder)["runs"]] == ["kept", "away"]


def test_a_deleted_run_is_forgotten(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.finish()
    runs = header.RunList(tmp_path)
    assert len(runs.rows()) == 1
    run.folder.path.rename(tmp_path / ".deleted")
    assert runs.rows() == []
