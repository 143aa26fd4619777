"""Processes are told apart by id, start time and boot id, and a whole session can be ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import eventually

from rewardfl_app.supervisor import process

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_process_is_recognised_until_it_ends(tmp_path: Path) -> None:
    pid = process.start_detached(SLEEP, tmp_path / "log", tmp_path)
    record = process.describe(pid, SLEEP)
    assert process.is_running(record) and process.on_this_machine(record)
    process.end_session(record, grace_seconds=5)
    eventually(lambda: not process.is_running(record))


def test_another_process_with_the_same_id_is_not_taken_for_it() -> None:
    record = process.describe(os.getpid(), [])
    assert process.is_running(record)
    assert not process.is_running({**record, "start_time": record["start_time"] - 1})
    assert not process.is_running({**record, "boot_id": "before the restart"})
    assert process.members({**record, "start_time": record["start_time"] - 1}) == []
    assert not process.on_this_machine({**record, "host": "elsewhere"})


def test_a_zombie_is_not_running() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    eventually(lambda: process.start_time(child.pid) is None)
    child.wait()


def test_it_starts_in_a_session_of_its_own_with_a_log_and_no_input(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()), os.getcwd())"
    log = tmp_path / "log"
    log.write_text("before\n")
    process.start_detached([sys.executable, "-c", code], log, tmp_path)
    eventually(lambda: log.read_text().count("\n") == 2)
    assert log.read_text() == f"before\nTrue '' {tmp_path}\n"


def test_ending_a_session_reaches_a_grandchild_that_ignores_sigterm(tmp_path: Path) -> None:
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    stubborn = ignore + "print('ready', flush=True); time.sleep(600)"
    spawn = f"subprocess.Popen([sys.executable, '-c', {stubborn!r}], process_group=0)"
    code = f"import subprocess, sys, time; {spawn}; time.sleep(600)"
    log = tmp_path / "log"
    record = process.describe(process.start_detached([sys.executable, "-c", code], log, tmp_path), [])
    eventually(lambda: "ready" in log.read_text())
    assert len(process.members(record)) == 2
    process.end_session(record, grace_seconds=0.1)
    eventually(lambda: process.members(record) == [])


def test_signals_to_what_is_gone_are_passed_over() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    process.send([child.pid], process.signal.SIGTERM)
    process.send_to_group(child.pid, process.signal.SIGTERM)


def test_a_command_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        process.start_detached([str(tmp_path / "nothing")], tmp_path / "log", tmp_path)


def test_ports_are_free() -> None:
    assert process.free_port() > 0
