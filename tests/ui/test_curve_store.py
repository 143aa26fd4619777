"""Curves as a page asks for them: all at first, then only what is new, anew when something no longer stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_run import FakeRun

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.ui import monitor_page
from rewardfl_app.ui.curve_store import NUM_RUNS, CurveStore, FollowedRun


def _seen(news: dict[str, Any]) -> dict[str, Any]:
    return {name: news[name] for name in ("generation", "trained", "evaluated")}


def test_a_page_gets_everything_once_and_then_what_is_new(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, prompts=("one",))
    run.baseline()
    run.step(1)
    followed = FollowedRun(run.folder)
    first = followed.news({})
    assert first["whole"] and first["series"]["loss"]["x"] == [1] and first["series"]["eval/reward"]["x"] == [0]
    assert followed.news(_seen(first))["series"] == {}
    run.step(2)
    second = followed.news(_seen(first))
    assert not second["whole"] and second["series"]["loss"]["x"] == [2] and "eval/reward" not in second["series"]
    run.evaluate(2)
    third = followed.news(_seen(second))
    assert third["series"]["eval/reward"]["x"] == [2] and "loss" not in third["series"]
    assert third["hacking"] is not None and second["hacking"] is None


def test_a_resumed_run_is_sent_anew(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    followed = FollowedRun(run.folder)
    for step in (1, 2, 3):
        run.step(step)
    first = followed.news({})
    run.step(2, reward=0.9)
    second = followed.news(_seen(first))
    assert second["whole"] and second["series"]["reward"]["x"] == [1, 2] and second["series"]["reward"]["y"][1] == 0.9


def test_a_file_that_was_replaced_is_sent_anew(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.step(1)
    run.step(2)
    followed = FollowedRun(run.folder)
    first = followed.news({})
    line = run.folder.metrics.read_bytes().splitlines(keepends=True)[0]
    other = run.folder.metrics.with_suffix(".cut")
    other.write_bytes(line)
    other.replace(run.folder.metrics)
    second = followed.news(_seen(first))
    assert second["whole"] and second["series"]["loss"]["x"] == [1]


def test_ten_thousand_steps_are_about_a_thousand_points(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    with open(run.folder.metrics, "a") as file:
        file.writelines(f'{{"step": {step}, "time": {step}, "loss": 0.5}}\n' for step in range(1, 10_001))
    followed = FollowedRun(run.folder)
    first = followed.news({})
    assert len(first["series"]["loss"]["x"]) < 1100 and first["trained"] == 10_000
    assert followed.news(_seen(first))["series"] == {}


def test_pages_share_what_is_followed_and_old_runs_are_let_go(tmp_path: Path) -> None:
    store = CurveStore()
    first = store.follow(RunFolder(tmp_path / "0"))
    assert store.follow(RunFolder(tmp_path / "0")) is first
    for number in range(1, NUM_RUNS + 1):
        store.follow(RunFolder(tmp_path / str(number)))
    assert store.follow(RunFolder(tmp_path / "0")) is not first


def test_what_is_no_run_of_the_folder_is_refused(tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    inside, outside = FakeRun(runs_dir), FakeRun(tmp_path / "other")
    inside.step(1)
    found = monitor_page.curves(runs_dir, {"run": inside.folder.id})
    assert found is not None and found["name"] == "first try" and not found["finished"]
    for wrong in (f"../other/{outside.folder.id}", str(outside.folder.path), "..", ".", "", "gone", None, 3):
        assert monitor_page.curves(runs_dir, {"run": wrong}) is None
