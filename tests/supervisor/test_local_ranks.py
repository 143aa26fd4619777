"""Several processes started on this machine: each knows its rank, and none outlives one that failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import eventually

from rewardfl_app.supervisor import local_ranks
from rewardfl_app.supervisor.command import package_environment

# Says who it is, then does what is asked of its rank: a number is its exit code, "wait" waits for ever.
RANK = """
import os, signal, sys, time
folder, deeds = sys.argv[1], sys.argv[2:]
number = int(os.environ["RANK"])
if deeds[number] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(f"{folder}/{number} {os.environ['LOCAL_RANK']} {os.environ['WORLD_SIZE']} {os.getpid()}", "w").close()
while len(os.listdir(folder)) < len(deeds) or deeds[number] in ("wait", "deaf"):
    time.sleep(0.01)
if deeds[number] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(deeds[number]))
"""


def start(folder: Path, *deeds: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", local_ranks.__name__, str(len(deeds)), "-c", RANK, str(folder), *deeds]
    return subprocess.Popen(command, env=package_environment())


def pids(folder: Path) -> list[int]:
    return [int(path.name.split()[-1]) for path in folder.iterdir()]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_each_is_told_its_rank(tmp_path: Path) -> None:
    assert start(tmp_path, "0", "0", "0").wait(60) == 0
    assert sorted(path.name.split()[:3] for path in tmp_path.iterdir()) == [[n, n, "3"] for n in "012"]


@pytest.mark.parametrize(
    ("deeds", "code"),
    [
        (("0", "7"), 7),
        (("wait", "7"), 7),
        (("wait", "kill", "wait"), -signal.SIGKILL),
        (("kill", "0"), -signal.SIGKILL),
    ],
)
def test_one_that_fails_ends_all_and_its_end_is_told(tmp_path: Path, deeds: tuple[str, ...], code: int) -> None:
    assert start(tmp_path, *deeds).wait(60) == code
    assert all(is_gone(pid) for pid in pids(tmp_path)) and len(pids(tmp_path)) == len(deeds)


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    started = start(tmp_path, "deaf", "wait")
    eventually(lambda: len(pids(tmp_path)) == 2)
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == -signal.SIGTERM
    assert all(is_gone(pid) for pid in pids(tmp_path))


def test_torch_is_not_loaded_to_start_them() -> None:
    told = [sys.executable, "-c", f"import sys, {local_ranks.__name__}; print('torch' in sys.modules)"]
    done = subprocess.run(told, env=package_environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
