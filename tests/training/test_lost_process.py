"""One of two real training processes is killed, then one stands still: the run ends, says which, and goes on."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import brightness_trainer
import pytest
import tiny_family
from fake_runs import eventually
from faults.wholeness import processes_of

from rewardfl_app.config import validation
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import checkpoints, control, pulse
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import process, supervisor
from rewardfl_app.supervisor.command import TRAINER_VARIABLE

TIMEOUT_MINUTES = 0.15


@pytest.fixture(params=["deepspeed.launcher.runner", "rewardfl_app.supervisor.local_ranks"])
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """Two processes under DeepSpeed's own launcher and under ours, with the brightness of the picture as reward."""
    launcher = [sys.executable, "-m", request.param]
    if request.param.startswith("deepspeed"):
        launcher += ["--no_local_rank", "--num_accelerators", "2", "--master_port", str(process.free_port())]
    else:
        launcher.append("2")
    monkeypatch.setenv(TRAINER_VARIABLE, shlex.join([*launcher, str(brightness_trainer.__file__)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    family = tiny_family.make_family(tmp_path / "family")
    changes = {
        "train": {"per_device_train_batch_size": 1, "max_steps": 5000, "save_steps": 5000},
        "evaluation": {"eval_steps": 5000, "num_samples": 2},
        "deepspeed": {"num_processes": 2, "zero_stage": 1, "timeout_minutes": TIMEOUT_MINUTES},
    }
    yield validation.build(tiny_family.settings(family, changes))
    for run in list_runs(tmp_path / "runs"):
        process.end_session(read_json(run.process) or {}, 0.0)


def after_steps(run: RunFolder, number: int) -> dict[int, int]:
    """Waits for so many steps; the process ids by rank."""
    eventually(lambda: supervisor.state(run).step >= number or supervisor.state(run).is_finished)
    assert not supervisor.state(run).is_finished, supervisor.state(run).message
    return {rank.number: int(rank.record["pid"]) for rank in pulse.read(run)}


def test_a_process_that_is_killed_and_one_that_stands_still(config: Config, tmp_path: Path) -> None:
    run = supervisor.start(config, tmp_path / "runs")
    ranks = after_steps(run, 2)
    request = supervisor.save_now(run)
    eventually(lambda: request in {receipt["id"] for receipt in control.receipts(run)})
    os.kill(ranks[1], signal.SIGKILL)
    ended = supervisor.wait(run, poll=0.05)
    assert ended["cause"] == "process_lost" and ended["signal"] == "SIGKILL"
    assert "Process 1 of 2 (counted from 0) was killed (SIGKILL) while" in ended["sentence"]
    eventually(lambda: not processes_of(run))
    saved = checkpoints.find(run, "latest").step

    supervisor.resume(run)
    ranks = after_steps(run, saved + 1)
    os.kill(ranks[0], signal.SIGSTOP)
    stopped_at = time.monotonic()
    ended = supervisor.wait(run, poll=0.05)
    assert ended["cause"] == "process_lost", ended
    assert "Process 0 of 2 (counted from 0) gave no sign of life for" in ended["sentence"]
    # Not a question of speed: without the watch it would stand still for ever.
    assert time.monotonic() - stopped_at < 20 * 60 * TIMEOUT_MINUTES
    eventually(lambda: not processes_of(run))
    assert checkpoints.find(run, "latest").step >= saved
