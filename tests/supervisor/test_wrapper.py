"""The wrapper ends the trainer in stages, with everything it started, and always leaves exit.json."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_runs
import pytest
from fake_runs import eventually

from rewardfl_app.config import files
from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import command, process

IMPATIENT = (
    "import sys; from pathlib import Path; from rewardfl_app.runs.folder import RunFolder; "
    "from rewardfl_app.supervisor import wrapper; run = RunFolder(Path(sys.argv[1])); "
    "assert wrapper.take_place(run, None); "
    "wrapper.run(run, wrapper.StopStages(float(sys.argv[2]), after_terminate=0.3, poll=0.02))"
)


class Wrapped:
    """A run folder and the impatient wrapper that runs in it."""

    def __init__(self, tmp_path: Path, behaviour: str, after_request: float) -> None:
        self.run = RunFolder.create(tmp_path / "runs", behaviour)
        files.dump(fake_runs.config(tmp_path / "files"), self.run.config)
        env = command.package_environment() | fake_runs.trainer_environment(behaviour)
        argv = [sys.executable, "-c", IMPATIENT, str(self.run.path), str(after_request)]
        self.pid = process.start_detached(argv, self.run.log, self.run.path, env)
        self.record = process.describe(self.pid, argv)

    def ready(self) -> None:
        eventually((self.run.path / "ready").exists)

    def report(self) -> dict[str, object]:
        eventually(self.run.exit.exists)
        return read_json(self.run.exit) or {}


@pytest.fixture
def behaviour() -> str:
    return "ignores_everything_with_grandchild"


@pytest.fixture
def after_request() -> float:
    return 0.2


@pytest.fixture
def wrapped(tmp_path: Path, behaviour: str, after_request: float) -> Iterator[Wrapped]:
    started = Wrapped(tmp_path, behaviour, after_request)
    yield started
    process.end_session(started.record, 0.0)


def test_stop_now_ends_trainer_and_grandchildren_by_force_when_nothing_answers(wrapped: Wrapped) -> None:
    wrapped.ready()
    grandchildren = [int(line) for line in (wrapped.run.path / "grandchildren").read_text().split()]
    assert len(grandchildren) == 2 and set(grandchildren) <= set(process.members(wrapped.record))
    control.request(wrapped.run, "stop_now")
    report = wrapped.report()
    assert report["cause"] == "stopped" and report["signal"] == "SIGKILL"
    eventually(lambda: process.members(wrapped.record) == [])
    assert all(process.start_time(pid) is None for pid in grandchildren)


@pytest.mark.parametrize("behaviour", ["ignores_stop"])
def test_sigterm_is_enough_for_a_trainer_that_dies_of_it(wrapped: Wrapped) -> None:
    wrapped.ready()
    control.request(wrapped.run, "stop_now")
    assert wrapped.report()["signal"] == "SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_wrapper_reaches_the_whole_group(wrapped: Wrapped, number: signal.Signals) -> None:
    wrapped.ready()
    os.kill(wrapped.pid, number)
    report = wrapped.report()
    assert report["cause"] == "killed_by_signal" and "from outside" in str(report["sentence"])
    eventually(lambda: process.members(wrapped.record) == [])


@pytest.mark.parametrize(("behaviour", "after_request"), [("slow", 60.0)])
def test_a_trainer_that_answers_is_not_signalled(wrapped: Wrapped) -> None:
    eventually(wrapped.run.metrics.exists)
    control.request(wrapped.run, "stop_now")
    report = wrapped.report()
    assert (report["cause"], report["return_code"], report["signal"]) == ("stopped", 0, None)


@pytest.mark.parametrize(("behaviour", "after_request"), [("slow", 60.0)])
def test_closing_the_terminal_does_not_touch_it(wrapped: Wrapped) -> None:
    eventually(wrapped.run.metrics.exists)
    os.kill(wrapped.pid, signal.SIGHUP)
    control.request(wrapped.run, "stop_and_save")
    assert wrapped.report()["return_code"] == 0


@pytest.mark.parametrize("behaviour", ["completes"])
def test_it_puts_its_own_name_into_the_folder(wrapped: Wrapped) -> None:
    assert wrapped.report()["cause"] == "completed"
    record = read_json(wrapped.run.process)
    assert record is not None and record["pid"] == wrapped.pid and record["role"] == "wrapper"


def test_a_wrapper_that_cannot_start_the_trainer_says_so(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs", "broken")
    files.dump(fake_runs.config(tmp_path / "files"), run.config)
    env = command.package_environment() | {command.TRAINER_VARIABLE: str(tmp_path / "no such program")}
    ended = subprocess.run(command.wrapper_command(run), env=env, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 1
    report = read_json(run.exit)
    assert report is not None and report["cause"] == "unknown" and "could not be started" in report["sentence"]


def test_the_wrapper_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'deepspeed', 'pydantic', 'numpy'}"
    code = f"import sys, rewardfl_app.supervisor.wrapper; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=command.package_environment())
