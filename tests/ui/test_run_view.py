"""A run followed in time: only what is new is reported, torn and replaced files are survived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_run import FakeRun

from rewardfl_app.runs import about
from rewardfl_app.runs.control import acknowledge
from rewardfl_app.runs.events import log_event
from rewardfl_app.ui import monitor_page
from rewardfl_app.ui.run_view import NUM_EVENTS, RunView, tail
from rewardfl_app.ui.session import PARTS, Session


def _sent(session: Session) -> dict[str, Any]:
    """What an update sends; skipped parts are left out."""
    values = zip(PARTS, session.update(), strict=True)
    return {name: value for name, value in values if "__type__" not in value}


def test_the_first_look_reports_everything_the_second_nothing(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    view = RunView(run.folder)
    first = view.look()
    assert first.metrics and first.samples and first.log
    assert not view.look().anything


def test_each_new_file_is_seen_once(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, prompts=("one",))
    view = RunView(run.folder)
    view.look()
    run.step(1)
    changed = view.look()
    assert changed.metrics and changed.state and not changed.samples
    run.baseline()
    assert view.look().samples and view.newest_step == 0
    run.evaluate(10)
    assert view.look().samples and view.newest_step == 10
    assert set(view.references) == {"row_000"}
    assert not view.look().anything


def test_an_update_sends_only_parts_that_changed(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, prompts=("one",))
    session = Session(tmp_path)
    assert set(_sent(session)) == set(PARTS)
    assert _sent(session) == {}
    run.step(1)
    assert {"header", "curves"} <= set(_sent(session)) and "sample" not in _sent(session)
    assert session.run == run.folder


def test_without_runs_every_part_says_so_once(tmp_path: Path) -> None:
    session = Session(tmp_path)
    sent = _sent(session)
    assert set(sent) == set(PARTS) and sent["top"] == {"run": None}
    assert _sent(session) == {}


def test_the_chosen_run_is_shown_else_the_living_one(tmp_path: Path) -> None:
    living = FakeRun(tmp_path, "living")
    ended = FakeRun(tmp_path, "ended")
    ended.finish()
    assert _sent(Session(tmp_path))["header"]["run"] == living.folder.id
    session = Session(tmp_path, ended.folder.id)
    assert _sent(session)["header"]["state"] == "completed"
    session.choose(living.folder.id)
    assert _sent(session)["header"]["run"] == living.folder.id
    assert _sent(Session(tmp_path, "gone"))["header"]["run"] == living.folder.id


def test_a_request_is_answered_at_once_and_by_the_receipt_later(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    session = Session(tmp_path)
    session.update()
    session.say(monitor_page.ask(run.folder, "stop_and_save"))
    sent = _sent(session)
    assert "Stop is requested" in sent["top"]["notice"] and sent["header"]["state"] == "stopping"
    request = next(run.folder.control.glob("*.json")).stem
    acknowledge(run.folder, request, "Stopped after step 3; the checkpoint is saved.")
    top = _sent(session)["top"]
    assert top["notice"] == ""
    assert [receipt["message"] for receipt in top["receipts"]] == ["Stopped after step 3; the checkpoint is saved."]


def test_a_failure_is_cause_and_next_step(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    run.finish("out_of_memory", "The GPU ran out of memory.", "Lower data.max_pixels.", 1)
    top = _sent(Session(tmp_path))["top"]
    assert top["exit"] == {
        "cause": "out_of_memory",
        "sentence": "The GPU ran out of memory.",
        "next_step": "Lower data.max_pixels.",
    }
    assert top["can_resume"]
    assert "nothing is left" in monitor_page.ask(run.folder, "save_now")


def test_the_way_to_the_first_step_is_told(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    session = Session(tmp_path)
    told = []
    for state, message in (("loading", "Loading the face models."), ("evaluating", "Rendering the base model.")):
        run.status(state, 0, message)
        top = _sent(session)["top"]
        told.append((top["waiting"], top["message"]))
    run.step(1)
    assert told == [("loading", "Loading the face models."), ("measuring", "Rendering the base model.")]
    assert _sent(session)["top"]["waiting"] is None


def test_a_new_name_and_a_new_checkpoint_are_noticed(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "first name")
    run.step(7)
    session = Session(tmp_path)
    assert _sent(session)["header"]["lost_steps"] == 7
    run.checkpoint(5)
    sent = _sent(session)
    assert (sent["header"]["saved"], sent["header"]["lost_steps"], sent["top"]["checkpoint"]) == (5, 2, 5)
    about.update(run.folder, name="second name")
    sent = _sent(session)
    assert sent["header"]["name"] == "second name" and sent["header"]["runs"][0]["name"] == "second name"


def test_only_the_newest_events_are_kept(tmp_path: Path) -> None:
    run = FakeRun(tmp_path)
    view = RunView(run.folder)
    for number in range(2 * NUM_EVENTS):
        log_event(run.folder, "checkpoint", f"event {number}")
        view.look()
    assert len(view.events) == NUM_EVENTS and view.num_events == 2 * NUM_EVENTS
    assert view.events[-1]["message"] == f"event {2 * NUM_EVENTS - 1}"


def test_the_log_tail_is_short_and_survives_progress_bars(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    assert tail(path) == ""
    path.write_bytes(b"first\n" + b"10%\r20%\r30%\n" + b"\xff broken\n" + b"x" * 100 + b"\nlast\n")
    assert tail(path).splitlines()[:2] == ["first", "30%"]
    assert tail(path, num_bytes=50).splitlines() == ["last"]
