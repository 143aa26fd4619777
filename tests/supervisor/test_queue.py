"""Runs that wait start by themselves, one after the other, whoever is there to see it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fake_runs
import pytest
from fake_runs import eventually

from rewardfl_app.runs import queue_file
from rewardfl_app.runs.events import log_event, read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.status import Status, write_status
from rewardfl_app.supervisor import command, launch, process, queue, reconcile, supervisor
from rewardfl_app.supervisor.supervisor import NotRunning, SupervisorError

Start = Callable[..., RunFolder]


def ids(runs: list[RunFolder]) -> list[str]:
    return [run.id for run in runs]


def test_the_wrapper_of_a_run_that_ends_starts_the_next(start: Start) -> None:
    first, second, third = start("completes"), start("completes", queue=True), start("completes", queue=True)
    for run in (first, second, third):
        assert supervisor.wait(run, poll=0.02)["cause"] == "completed"
    created = [(read_json(run.process) or {})["started"] for run in (first, second, third)]
    assert created == sorted(created)
    assert queue.queued(first.path.parent) == [] and not (first.path.parent / queue_file.NAME).exists()


def test_a_failed_run_does_not_stop_the_queue(start: Start) -> None:
    first, second, third = start("crashes"), start("crashes", queue=True), start("crashes", queue=True)
    for run in (first, second, third):
        assert supervisor.wait(run, poll=0.02)["return_code"] == 1


def test_a_queued_run_says_its_place_and_is_complete(start: Start) -> None:
    start("slow")
    runs = [start("slow", queue=True, name=f"number {place}", parent="older") for place in (1, 2)]
    states = [supervisor.state(run) for run in runs]
    assert [state.state for state in states] == ["queued", "queued"]
    assert not states[0].is_finished and states[0].exit is None and states[0].total == 3
    assert states[0].message == "Next in the queue: it starts when no other run has its devices."
    assert states[1].message.startswith("Number 2 of 2 in the queue")
    assert runs[0].config.is_file()
    info = read_json(runs[0].run_info) or {}
    assert info["name"] == "number 1" and info["parent"] == "older" and info["weights"]
    with pytest.raises(NotRunning, match="waits in the queue"):
        supervisor.stop(runs[0])


def test_order_is_changed_and_kept(start: Start) -> None:
    going = start("slow")
    runs_dir = going.path.parent
    first, second, third = (start("slow", queue=True) for _ in range(3))
    queue.move(third, -1)
    assert ids(queue.queued(runs_dir)) == ids([first, third, second])
    queue.move(first, 9)
    queue.move(second, -9)
    assert ids(queue.queued(runs_dir)) == ids([second, third, first])
    queue.remove(third)
    assert ids(queue.queued(runs_dir)) == ids([second, first])
    state = supervisor.state(third)
    assert state.state == "stopped" and "queue" in state.message and state.exit is not None
    with pytest.raises(SupervisorError, match="does not wait"):
        queue.move(third, 1)
    with pytest.raises(SupervisorError, match="does not wait"):
        queue.remove(going)


def test_a_run_taken_out_or_still_waiting_starts_when_it_is_resumed(start: Start) -> None:
    going = start("slow")
    out, waiting = start("completes", queue=True), start("completes", queue=True)
    queue.remove(out)
    before = [supervisor.state(run) for run in (out, waiting)]
    for run in (out, waiting):
        with pytest.raises(supervisor.DevicesBusy, match=f"Run {going.id} trains on this machine's processors"):
            supervisor.resume(run)
    assert [supervisor.state(run) for run in (out, waiting)] == before
    process.end_session(read_json(going.process) or {}, 0.0)  # without a wrapper that starts the next
    eventually(lambda: supervisor.state(going).is_finished)
    for run in (out, waiting):
        supervisor.resume(run)
        assert supervisor.wait(run, poll=0.02)["cause"] == "completed"
    assert queue.queued(out.path.parent) == []


def test_advance_starts_nothing_while_a_run_is_active(start: Start) -> None:
    going, waiting = start("slow"), start("slow", queue=True)
    runs_dir = going.path.parent
    assert ids(queue.active(runs_dir)) == [going.id]
    assert queue.advance(runs_dir) is None
    supervisor.stop(going)
    supervisor.wait(going, poll=0.02)
    eventually(lambda: ids(queue.active(runs_dir)) == [waiting.id])
    assert queue.advance(runs_dir) is None and queue.queued(runs_dir) == []


def test_who_comes_first_starts_the_next_and_only_one_does(start: Start, tmp_path: Path) -> None:
    """Without a wrapper to do it: several processes look at once, as apps and commands do."""
    runs = [start("slow", queue=True) for _ in range(3)]
    code = (
        "import sys; from pathlib import Path; from rewardfl_app.supervisor import queue; "
        "queue.advance(Path(sys.argv[1]))"
    )
    env = command.package_environment(os.environ) | fake_runs.trainer_environment("slow")
    argv = [sys.executable, "-c", code, str(tmp_path / "runs")]
    started = [subprocess.Popen(argv, env=env) for _ in range(4)]
    assert [child.wait(timeout=120) for child in started] == [0] * 4
    assert ids(queue.active(tmp_path / "runs")) == [runs[0].id]
    assert ids(queue.queued(tmp_path / "runs")) == ids(runs[1:])


def test_a_run_that_cannot_be_started_fails_and_the_next_has_its_turn(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = start("completes", queue=True), start("completes", queue=True)
    spawn = launch.spawn

    def refusing(run: RunFolder, waited: bool) -> None:
        if run == first:
            raise OSError(28, "No space left on device")
        spawn(run, waited)

    monkeypatch.setattr(launch, "spawn", refusing)
    assert queue.advance(first.path.parent) == second
    assert supervisor.state(first).state == "failed" and "No space left" in supervisor.state(first).message


def test_a_run_whose_start_was_cut_off_waits_again_before_the_others(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = start("completes", queue=True), start("completes", queue=True)
    runs_dir = first.path.parent
    spawn = launch.spawn

    def cut_off(run: RunFolder, waited: bool) -> None:
        """As if this process had been killed before the wrapper came."""
        launch.announce(run, waited)
        write_status(run, Status("starting", total=3))
        record = {**(read_json(run.process) or {}), **process.describe(stranger.pid, [])}
        stranger.kill()
        stranger.wait()
        write_json_atomic(run.process, record)

    for number in range(3):
        stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        monkeypatch.setattr(launch, "spawn", cut_off)
        with queue_file.lock(runs_dir):
            assert queue._start(first)
        monkeypatch.setattr(launch, "spawn", spawn)
        assert supervisor.state(first).state == "lost"
        if number < 2:  # whoever puts the folder right, even when another run would be next
            with queue_file.lock(runs_dir), launch.lock(first):
                assert queue.put_back(first)
            assert ids(queue.queued(runs_dir)) == ids([first, second])
            assert supervisor.state(first).message.startswith("Next in the queue")
    assert queue.advance(runs_dir) == first
    for run in (first, second):
        assert supervisor.wait(run, poll=0.02)["cause"] == "completed"
    assert [event["kind"] for event in read_events(first)].count("put_back") == 3


def test_the_last_of_the_queue_waits_again_too(start: Start) -> None:
    run = start("completes", queue=True)
    runs_dir = run.path.parent
    gone = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    record = {**process.describe(gone.pid, []), "role": "wrapper", "waited": True, "started": 1.0}
    gone.kill()
    gone.wait()
    write_json_atomic(run.process, record)
    write_status(run, Status("starting", total=3))
    queue_file.write(runs_dir, [])
    reconcile.reconcile(runs_dir)
    assert supervisor.wait(run, poll=0.02)["cause"] == "completed"
    assert [event["kind"] for event in read_events(run)].count("put_back") == 1


def test_a_start_that_is_cut_off_again_and_again_is_given_up(start: Start) -> None:
    run = start("completes", queue=True)
    runs_dir = run.path.parent
    for _ in range(3):
        log_event(run, "put_back", "as before")
    gone = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    record = {**process.describe(gone.pid, []), "role": "starter", "waited": True, "started": 1.0}
    gone.kill()
    gone.wait()
    write_json_atomic(run.process, record)
    reconcile.reconcile(runs_dir)
    assert (read_json(run.exit) or {})["cause"] == "lost" and queue.queued(runs_dir) == []


@pytest.mark.parametrize("since", ["ended", "put back", "begun anew"])
def test_a_wrapper_that_comes_too_late_does_nothing(start: Start, since: str) -> None:
    run = start("completes", queue=True)
    record = {**process.describe(os.getpid(), []), "role": "starter", "started": 7.25}
    write_json_atomic(run.process, record)
    if since == "ended":
        write_json_atomic(run.exit, {"cause": "lost", "sentence": "It is gone.", "next_step": "Resume."})
    elif since == "put back":
        run.process.unlink()
        queue_file.write(run.path.parent, [])
    else:
        write_json_atomic(run.process, {**record, "started": 8.5})
    before = {path: path.read_bytes() for path in (run.process, run.exit, run.status) if path.exists()}
    env = command.package_environment(os.environ) | fake_runs.trainer_environment("completes")
    ended = subprocess.run(command.wrapper_command(run, 7.25), env=env, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 0 and b"given up" in ended.stderr
    assert before == {path: path.read_bytes() for path in (run.process, run.exit, run.status) if path.exists()}


def test_the_order_survives_what_stands_in_the_file(start: Start, tmp_path: Path) -> None:
    run = start("slow", queue=True)
    runs_dir = tmp_path / "runs"
    write_json_atomic(runs_dir / queue_file.NAME, {"runs": ["../elsewhere", "", "..", 7, "gone", run.id, run.id]})
    assert ids(queue.queued(runs_dir)) == [run.id]
    (runs_dir / queue_file.NAME).write_text("not JSON")
    assert queue.queued(runs_dir) == [] and queue.advance(runs_dir) is None
    assert supervisor.state(run).state == "stopped"


def test_asking_costs_one_look_while_nothing_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> list[RunFolder]:
        raise AssertionError("the folder was read")

    monkeypatch.setattr(queue, "list_runs", refuse)
    assert queue.advance(tmp_path) is None


def test_a_token_gives_one_run_to_all_that_have_it(start: Start, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(lambda _: start("slow", token="tab 1"), range(4)))
    assert len(set(ids(runs))) == 1
    assert start("slow", token="tab 1", queue=True) == runs[0]
    other = start("slow", token="tab 2", queue=True)
    assert other != runs[0] and start("slow", token="tab 2") == other
    supervisor.delete(other)
    assert start("slow", token="tab 2", queue=True) != other


def test_a_token_holds_across_processes(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import fake_runs; from pathlib import Path; "
        "from rewardfl_app.config import validation; from rewardfl_app.supervisor import supervisor; import json; "
        "config = validation.build(json.loads(Path(sys.argv[1], 'config.json').read_text())); "
        "print(supervisor.start(config, Path(sys.argv[1], 'runs'), token='../../same').id)"
    )
    write_json_atomic(tmp_path / "config.json", fake_runs.mapping(tmp_path / "files"))
    env = command.package_environment() | fake_runs.trainer_environment("completes")
    argv = [sys.executable, "-c", code, str(tmp_path), str(Path(fake_runs.__file__).parent)]
    children = [subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [child.communicate(timeout=120)[0].strip() for child in children]
    assert told[0] == told[1] and told[0]
    run = RunFolder(tmp_path / "runs" / told[0])
    assert [path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")] == [run.id]
    assert supervisor.wait(run, poll=0.02)["cause"] == "completed"


def test_a_wrong_setting_leaves_the_token_unused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "files" / "clips" / "b.mp4").write_bytes(b"not a video")
    with pytest.raises(Exception, match="row 2"):
        start("completes", token="tab")
    fake_runs.write_clips(tmp_path / "files" / "clips")
    assert supervisor.wait(start("completes", token="tab"), poll=0.02)["cause"] == "completed"


def test_one_who_will_ask_again_does_not_wait_for_another_process(start: Start) -> None:
    run = start("completes", queue=True)
    runs_dir = run.path.parent
    with queue_file.lock(runs_dir):
        assert queue.advance(runs_dir, wait=False) is None
    assert queue.advance(runs_dir, wait=False) == run


def test_a_run_without_settings_fails_when_its_turn_has_come(start: Start) -> None:
    going, broken, after = start("slow"), start("slow", queue=True), start("slow", queue=True)
    broken.config.unlink()
    assert queue.advance(going.path.parent) is None and supervisor.state(broken).state == "queued"
    supervisor.stop(going)
    eventually(lambda: supervisor.state(after).state == "training")
    assert supervisor.state(broken).state == "failed"
    supervisor.stop(after)
    assert supervisor.wait(after, poll=0.02)["cause"] == "stopped"
