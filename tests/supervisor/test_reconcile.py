"""What a crash left is put right by whoever looks after the runs next."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import eventually

from rewardfl_app.runs import identity
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.metrics import read_all
from rewardfl_app.runs.status import Status, write_status
from rewardfl_app.supervisor import process, reconcile, supervisor

Start = Callable[..., RunFolder]


def record(run: RunFolder) -> dict[str, object]:
    return read_json(run.process) or {}


def going(start: Start) -> RunFolder:
    run = start("slow")
    eventually(lambda: len(read_all(run.metrics)) > 3)
    return run


def test_a_run_whose_watch_was_killed_is_watched_again_and_ends_as_it_should(start: Start) -> None:
    run = going(start)
    os.kill(int(str(record(run)["pid"])), signal.SIGKILL)
    eventually(lambda: not process.is_running(record(run)))
    for _ in range(3):  # once is enough
        reconcile.reconcile(run.path.parent)
    assert [event["kind"] for event in read_events(run)] == ["adopted"]
    assert supervisor.state(run).state == "training"
    with pytest.raises(supervisor.AlreadyRunning):
        supervisor.resume(run)
    supervisor.stop(run)
    ended = supervisor.wait(run, poll=0.02)
    assert ended["cause"] == "stopped" and ended["return_code"] is None
    assert read_json(run.exit) == ended
    supervisor.resume(run)
    eventually(lambda: supervisor.state(run).state == "training")
    assert "watcher" not in record(run)


def test_stop_takes_the_place_of_a_watch_that_was_killed(start: Start) -> None:
    run = start("ignores_everything")
    eventually((run.path / "ready").exists)
    os.kill(int(str(record(run)["pid"])), signal.SIGKILL)
    eventually(lambda: not process.is_running(record(run)))
    supervisor.stop(run, now=True)
    assert process.is_running(record(run)["watcher"])  # type: ignore[arg-type]
    process.send(process.members(record(run)), signal.SIGKILL)
    supervisor.wait(run, poll=0.02)
    eventually(run.exit.exists)


@pytest.mark.parametrize(
    ("said", "failure", "state", "cause"),
    [
        ("training", None, "lost", "lost"),
        ("completed", None, "completed", "completed"),
        ("stopped", None, "stopped", "stopped"),
        ("failed", {"cause": "bad_data", "sentence": "row 2", "next_step": "x"}, "failed", "bad_data"),
    ],
)
def test_an_end_that_nobody_saw_is_read_from_the_folder(
    tmp_path: Path, said: str, failure: dict[str, str] | None, state: str, cause: str
) -> None:
    run = RunFolder.create(tmp_path, "x")
    gone = {**process.describe(os.getpid(), []), "role": "wrapper", "boot_id": "before the restart"}
    write_json_atomic(run.process, gone)
    write_status(run, Status(said, step=3, total=9))  # type: ignore[arg-type]
    (run.path / ".status.json.abc.tmp").touch()
    if failure is not None:
        write_json_atomic(run.failure, failure)
    assert supervisor.state(run).state == state and not run.exit.exists()
    reconcile.reconcile(tmp_path)
    account = read_json(run.exit) or {}
    assert account["cause"] == cause and supervisor.state(run).state == state
    if cause == "lost":
        assert "the machine was restarted" in account["sentence"] and "step 3 of 9" in account["sentence"]
    assert not (run.path / ".status.json.abc.tmp").exists()


def test_a_run_of_another_machine_and_one_that_waits_are_left_alone(start: Start, tmp_path: Path) -> None:
    far = RunFolder.create(tmp_path / "runs", "far")
    write_json_atomic(far.process, {**process.describe(1, []), "host": "node7", "role": "wrapper"})
    busy, waits = going(start), start("slow", queue=True)
    reconcile.reconcile(tmp_path / "runs")
    assert not far.exit.exists() and supervisor.state(waits).state == "queued"
    assert supervisor.state(busy).state == "training"


def test_a_watch_that_is_stopped_goes_on_before_and_after_the_end(start: Start) -> None:
    run = going(start)
    pid = int(str(record(run)["pid"]))
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: identity.is_suspended(record(run)))
    settled: reconcile.Settled = set()
    reconcile.reconcile(run.path.parent, settled)
    eventually(lambda: not identity.is_suspended(record(run)))
    os.kill(pid, signal.SIGSTOP)
    write_json_atomic(run.exit, {"cause": "completed"})  # it is stopped between its account and its own end
    eventually(lambda: identity.is_suspended(record(run)))
    reconcile.reconcile(run.path.parent, settled)
    eventually(lambda: not identity.is_suspended(record(run)))
    assert not settled
    process.end_session(record(run), 0.0)
    eventually(lambda: not process.is_running(record(run)))
    reconcile.reconcile(run.path.parent, settled)
    assert len(settled) == 1


def test_a_paused_trainer_is_told_and_woken_by_a_stop(start: Start) -> None:
    from rewardfl_app.runs import pulse

    run = going(start)
    over = pulse.start(run, 0, 1)  # this process plays the trainer's part of it
    [rank] = pulse.read(run)
    over.set()
    trainer = next(pid for pid in process.members(record(run)) if pid != record(run)["pid"])
    write_json_atomic(run.ranks / "rank_0000.json", {**rank.record, **identity.describe(trainer, [])})
    os.kill(trainer, signal.SIGSTOP)
    eventually(lambda: supervisor.state(run).state == "paused")
    assert "SIGSTOP" in supervisor.state(run).message
    write_status(run, Status("starting", total=3))  # also before its first word
    assert supervisor.state(run).state == "paused"
    supervisor.stop(run)
    assert supervisor.wait(run, poll=0.02)["cause"] == "stopped"


def test_a_folder_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    reconcile.reconcile(tmp_path / "none")
    assert not (tmp_path / "none").exists()
