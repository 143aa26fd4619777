"""Start and Add to queue from the form: what is made, what is refused, and that the same form gives one run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from page_run import FakeRun

from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import queue, supervisor
from rewardfl_app.ui import draft, train_page

FAKE_TRAINER = Path(__file__).resolve().parents[1] / "supervisor" / "fake_trainer.py"


@pytest.fixture(autouse=True)
def _fake_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDFL_TRAINER", shlex.join([sys.executable, str(FAKE_TRAINER), "completes"]))


def _request(runs_dir: Path, source: str = "preset:pocket", **more: Any) -> dict[str, Any]:
    return {"values": draft.source_values(source, runs_dir), "source": source, "seen": None, **more}


def test_wrong_settings_start_nothing_and_say_where(tmp_path: Path) -> None:
    request = _request(tmp_path)
    request["values"] |= {"train.max_steps": "none"}
    for queued in (False, True):
        answer = train_page.start({**request, "queue": queued}, tmp_path)
        assert [problem["field"] for problem in answer["problems"]] == ["train.max_steps"]
    assert list_runs(tmp_path) == []


def test_the_same_form_sent_twice_gives_one_run_until_that_run_was_seen(tmp_path: Path) -> None:
    first = train_page.start(_request(tmp_path, anyway=True), tmp_path)
    again = train_page.start(_request(tmp_path, anyway=True), tmp_path)
    assert (first["again"], again["again"], again["run"]) == (False, True, first["run"])
    other = train_page.start(_request(tmp_path, anyway=True, name="another"), tmp_path)
    seen = train_page.start(_request(tmp_path, anyway=True, seen=first["run"]), tmp_path)
    assert len({first["run"], other["run"], seen["run"]}) == len(list_runs(tmp_path)) == 3
    for run in list_runs(tmp_path):
        supervisor.wait(run)


def test_a_device_in_use_is_shared_only_when_the_person_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REWARDFL_TRAINER", shlex.join([sys.executable, str(FAKE_TRAINER), "slow"]))
    going = train_page.start(_request(tmp_path), tmp_path)["run"]
    [problem] = train_page.start(_request(tmp_path, name="second"), tmp_path)["problems"]
    assert problem["field"] == "" and f"Run {going} trains on this machine's processors" in problem["message"]
    assert [run.id for run in list_runs(tmp_path)] == [going]
    beside = train_page.start(_request(tmp_path, name="second", anyway=True), tmp_path)["run"]
    for run in list_runs(tmp_path):
        assert supervisor.settings(run).deepspeed.share_devices == (run.id == beside)
        supervisor.stop(run, now=True)
        supervisor.wait(run)


def test_a_fork_has_a_parent_and_differs_in_what_was_changed(tmp_path: Path) -> None:
    parent = FakeRun(tmp_path, "base")
    parent.finish()
    source = f"run:{parent.folder.id}"
    request = _request(tmp_path, source)
    request["values"] |= {"train.learning_rate": "1e-4", "sampling.mid_timestep": "6"}
    answer = train_page.start(request, tmp_path)
    run = next(run for run in list_runs(tmp_path) if run.id == answer["run"])
    supervisor.wait(run)
    info = read_json(run.run_info) or {}
    assert (info["parent"], info["name"]) == (parent.folder.id, "base, mid_timestep 6, learning_rate 1e-4")
    changes = draft.review(draft.source_values(f"run:{run.id}", tmp_path), source, tmp_path)["changes"]
    assert [change["field"] for change in changes] == ["sampling.mid_timestep", "train.learning_rate"]


def test_a_queued_run_waits_and_the_page_is_told(tmp_path: Path) -> None:
    answer = train_page.start(_request(tmp_path, queue=True, name="later"), tmp_path)
    assert answer["queued"] and [run.id for run in queue.queued(tmp_path)] == [answer["run"]]
    rows = [
        {"id": "c", "name": "waits", "state": "queued"},
        {"id": "b", "name": "trains", "state": "training"},
        {"id": "a", "name": "done", "state": "completed"},
    ]
    assert train_page.page_payload(rows) == {
        "newest": "c",
        "active": {"id": "b", "name": "trains", "state": "training"},
        "num_queued": 1,
    }
    assert train_page.page_payload([]) == {"newest": None, "active": None, "num_queued": 0}
