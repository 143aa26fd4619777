"""The bench of open pages: its folder is one that the app reads, and what it counts is what a page is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardfl_app.bench import full_folder, tick
from rewardfl_app.bench.case import CaseFailed
from rewardfl_app.config import presets
from rewardfl_app.runs import checkpoints, metrics
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import supervisor
from rewardfl_app.ui import tick_times
from rewardfl_app.ui.run_view import RunView


def test_the_folder_is_read_as_a_real_one(tmp_path: Path) -> None:
    living = full_folder.write(tmp_path, num_runs=3, num_steps=100, num_samples=20)
    newest, *ended = list_runs(tmp_path)
    assert newest == living.folder and len(ended) == 2
    assert supervisor.state(newest).state == "training" and {supervisor.state(run).state for run in ended} == {
        "completed"
    }
    view = RunView(newest)
    view.look()
    assert view.num_samples == 20 and 0 in view.samples and len(checkpoints.list_checkpoints(newest)) == 20
    records = metrics.read_all(newest.metrics)
    assert sum(metrics.is_evaluation(record) for record in records) == 3
    assert [record["step"] for record in records if not metrics.is_evaluation(record)] == list(range(1, 101))


def test_each_look_is_after_what_happened(tmp_path: Path) -> None:
    living = full_folder.write(tmp_path, 2, 50, 10)
    found = list(tick_times.measure(tmp_path, living, 50, repeats=3, num_pages=2))
    by_name = {what: (pages, milliseconds, num_bytes) for what, pages, milliseconds, num_bytes in found}
    assert [len(times) for _, times, _ in by_name.values()] == [1, 1, 3, 3, 1, 3, 3, 1]
    assert [pages for pages, *_ in by_name.values()] == [1] * 5 + [2] * 3
    quiet, step, evaluation = (
        by_name[f"one page: {what} is new"][2] for what in ("nothing", "a step", "an evaluation")
    )
    assert quiet < 10 < step < evaluation <= by_name["the first page's first look"][2] + 5000
    steps = [record["step"] for record in metrics.read_all(living.folder.metrics)]
    assert steps.count(58) == 2 and max(steps) == 58  # 4 steps to one page and 4 to two; the last was evaluated, too


def test_the_bench_asks_a_process_and_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NUM_RUNS": 2, "NUM_STEPS": 50, "NUM_SAMPLES": 10}.items():
        monkeypatch.setattr(full_folder, name, value)
    monkeypatch.setattr(tick, "REPEATS", 2)
    report = tick.measure(presets.preset("pocket"), lambda *_: None)
    assert len(report.rows) == 11 and all(row[0] > 0 for row in report.rows)  # type: ignore[operator]
    assert len(report.marks) == 6 and {mark.limit for mark in report.marks} == {50.0}
    for row in report.rows:
        assert row[2] == pytest.approx(float(row[0] or 0) * 50)
    sent = {str(row[1]): float(row[6] or 0) for row in report.rows}
    names = [f"through the app: {what}" for what in ("nothing is new", "a step is new", "a page's first look")]
    quiet, step, first = (sent[name] for name in names)
    assert 0 < quiet < step < first
    assert report.parameters == {"runs": 2, "steps": 50, "samples": 10, "repeats": 2, "pages": tick.PAGES}
    json.dumps(report.content())


def test_a_process_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "PAGES", "many")
    with pytest.raises(CaseFailed, match="invalid int value: 'many'"):
        tick._looks(full_folder.write(tmp_path, 1, 50, 10), 50)
