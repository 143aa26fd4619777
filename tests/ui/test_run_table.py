"""The rows of the Runs page, and what a tick costs."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import pytest
from page_run import FakeRun

from rewardfl_app.config import presets
from rewardfl_app.runs import about, archive, best
from rewardfl_app.runs.metrics import is_evaluation, read_all
from rewardfl_app.supervisor import queue, supervisor
from rewardfl_app.ui.run_table import NOTES_SHOWN, RunTable
from rewardfl_app.ui.runs_page import page_payload


def _finished(runs_dir: Path, name: str) -> FakeRun:
    run = FakeRun(runs_dir, name, total=20, prompts=("one",))
    run.baseline()
    for step in range(1, 21):
        run.step(step)
    run.evaluate(20)
    run.finish(sentence="Completed all 20 steps.")
    return run


def _rows(table: RunTable) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in table.rows()["rows"]}


def test_a_row_says_what_became_of_a_run(tmp_path: Path) -> None:
    run = _finished(tmp_path, "first")
    about.update(run.folder, tags=["a", "b"], notes="x" * 1000)
    chosen = best.choose([record for record in read_all(run.folder.metrics) if is_evaluation(record)])
    best.write(run.folder, chosen)
    row = _rows(RunTable(tmp_path))["first"]
    assert (row["state"], row["word"], row["finished"]) == ("completed", "Completed", True)
    assert (row["step"], row["total"], row["evaluated"]) == (20, 20, 20)
    assert row["reward"]["gain"] == pytest.approx(0.0826, abs=1e-4) and row["motion"]["ratio"] == pytest.approx(0.96)
    assert row["best"]["step"] == 20 and "no alarm" in row["best"]["why"]
    assert row["tags"] == ["a", "b"] and len(row["notes"]) == NOTES_SHOWN + 1


def test_a_quiet_tick_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        _finished(tmp_path, f"run {number}")
    table = RunTable(tmp_path)
    first = table.look()
    opened: list[str] = []
    real = io.open

    def counted(path: Any, *arguments: Any, **options: Any) -> Any:
        opened.append(str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(io, "open", counted)
    monkeypatch.setattr(builtins, "open", counted)
    again = table.look()
    assert again == first and not [path for path in opened if "run-" in path]


def test_the_version_changes_with_a_row_and_not_with_a_step(tmp_path: Path) -> None:
    done, running = _finished(tmp_path, "done"), FakeRun(tmp_path, "running", total=60)
    running.step(1)
    table = RunTable(tmp_path)
    first = table.look()
    running.step(2)
    second = table.look()
    assert second.version == first.version
    assert [(run["id"], run["step"], run["state"]) for run in second.live] == [(running.folder.id, 2, "training")]
    about.update(done.folder, name="renamed")
    assert table.look().version != first.version and "renamed" in _rows(table)


def test_the_end_of_a_run_and_its_evaluations_are_seen(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "going", total=40, prompts=("one",))
    run.baseline()
    table = RunTable(tmp_path)
    assert _rows(table)["going"]["reward"] is None
    run.step(10)
    run.evaluate(10)
    assert _rows(table)["going"]["evaluated"] == 10
    run.finish("failed", "The GPU ran out of memory.", "Lower it.", 1)
    row = _rows(table)["going"]
    assert (row["state"], row["message"], table.look().live) == ("failed", "The GPU ran out of memory.", [])


def test_a_deleted_run_leaves_and_an_archived_one_is_marked(tmp_path: Path) -> None:
    one, two = _finished(tmp_path, "one"), _finished(tmp_path, "two")
    table = RunTable(tmp_path)
    archive.archive(one.folder)
    assert _rows(table)["one"]["archived"] and not _rows(table)["two"]["archived"]
    supervisor.delete(two.folder)
    assert set(_rows(table)) == {"one"}


def test_the_queue_stands_in_its_order(tmp_path: Path) -> None:
    one, two = (supervisor.enqueue(presets.preset("pocket"), tmp_path, name) for name in ("one", "two"))
    told = page_payload(tmp_path)
    assert told["queue"] == [one.id, two.id]
    assert {run["state"] for run in told["live"]} == {"queued"}
    queue.move(two, -1)
    assert page_payload(tmp_path)["queue"] == [two.id, one.id]


def test_a_long_run_that_ended_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _finished(tmp_path, "long")
    table = RunTable(tmp_path)
    table.look()
    about.update(run.folder, name="still long")
    read: list[str] = []
    monkeypatch.setattr("rewardfl_app.runs.evaluations.EvaluationReader._parse", lambda self, text: read.append(text))
    assert "still long" in _rows(table) and read == []


def test_time_between_a_stop_and_a_resume_does_not_count(tmp_path: Path) -> None:
    from rewardfl_app.runs import jsonlines
    from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
    from rewardfl_app.ui.run_table import seconds_taken

    run = FakeRun(tmp_path, "paused")
    run.folder.events.unlink(missing_ok=True)
    for time, kind in ((100.0, "started"), (160.0, "stopped"), (5000.0, "started"), (5030.0, "completed")):
        jsonlines.append(run.folder.events, {"time": time, "kind": kind, "message": ""})
    status = read_json(run.folder.status)
    assert status is not None
    write_json_atomic(run.folder.status, {**status, "heartbeat": 5040.0})
    assert seconds_taken(run.folder) == 100.0
