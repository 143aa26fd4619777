"""The trainer as a process of its own, and as two: the launcher, gloo and the real exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import brightness_trainer
import pytest
import tiny_family
import torch
from safetensors.torch import load_file

from rewardfl_app.runs import checkpoints, metrics, samples
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.status import read_status
from rewardfl_app.supervisor.command import train_environment
from rewardfl_app.supervisor.process import free_port

TIMEOUT = 600


def start(run: RunFolder, num_processes: int = 1) -> subprocess.CompletedProcess[str]:
    script = str(Path(brightness_trainer.__file__))
    port = free_port()
    command = [sys.executable, script, str(run.path)]
    if num_processes > 1:
        launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--no_local_rank", "--master_port", str(port)]
        command = [*launcher, "--num_accelerators", str(num_processes), script, str(run.path)]
    environment = train_environment(num_processes, port)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if num_processes > 1 else ():
        environment.pop(name, None)
    environment["OMP_NUM_THREADS"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(script).parent), environment["PYTHONPATH"]])
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def losses(run: RunFolder) -> list[float]:
    return [record["loss"] for record in metrics.read_all(run.metrics) if "loss" in record]


def test_two_processes_equal_one_with_accumulation(family: Path, tmp_path: Path) -> None:
    shared = {
        "reward": {"anchor_weight": 0.1, "kl_weight": 0.5, "kl_steps": "expert", "reward_model_path": str(family)}
    }
    train = {"max_steps": 2, "per_device_train_batch_size": 1}
    accumulating = {**train, "gradient_accumulation_steps": 2}
    one = tiny_family.make_run(family, tmp_path, "one", train=accumulating, **shared)
    divided = {"num_processes": 2, "zero_stage": 2}
    two = tiny_family.make_run(family, tmp_path, "two", train=train, deepspeed=divided, **shared)
    done = start(one)
    assert done.returncode == 0, done.stderr[-3000:]
    done = start(two, num_processes=2)
    assert done.returncode == 0, done.stderr[-3000:]
    status = read_status(two)
    assert status is not None and status.state == "completed"
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    first, second = (load_file(checkpoints.find(run, 2).path / "low_noise.safetensors") for run in (one, two))
    for key, value in second.items():
        torch.testing.assert_close(value, first[key], rtol=1e-4, atol=1e-5)
    assert {step: len(found) for step, found in samples.list_samples(two).items()} == {0: 3, 2: 3}
    evaluations = [
        [r["eval/reward"] for r in metrics.read_all(run.metrics) if "eval/reward" in r] for run in (one, two)
    ]
    assert evaluations[0] == pytest.approx(evaluations[1], rel=1e-4)
