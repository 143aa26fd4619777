"""The trainer as a process of its own, and as two: the launcher, gloo and the real exit codes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import brightness_trainer
import engine_cases
import pytest
import tiny_family
import torch
from forked_trainers import ForkedTrainers, log_of
from safetensors.torch import load_file

from rewardfl_app.config import files
from rewardfl_app.runs import checkpoints, metrics, samples
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.status import read_status
from rewardfl_app.supervisor.command import train_command, train_environment
from rewardfl_app.supervisor.placement import Placement
from rewardfl_app.supervisor.process import free_port

TIMEOUT = 600
TESTS = Path(__file__).resolve().parent.parent
LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def start(run: RunFolder, num_processes: int, hosts: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The trainer as the supervisor starts it, with the brightness of the picture as its reward."""
    port = free_port()
    where = Placement(num_processes, hosts)
    command = train_command(run, where, port)
    place = command.index("rewardfl_app.training")
    command[place - 1 : place + 1] = [str(brightness_trainer.__file__)]
    environment = train_environment(where, port)
    for name in LAUNCHED if num_processes > 1 else ():
        environment.pop(name, None)
    environment["OMP_NUM_THREADS"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), environment["PYTHONPATH"]])
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False)


def losses(run: RunFolder) -> list[float]:
    return [record["loss"] for record in metrics.read_all(run.metrics) if "loss" in record]


def change(run: RunFolder, **sections: dict[str, Any]) -> None:
    """Changes the frozen configuration of a run, as a resume with other settings does."""
    config = files.load(run.config)
    changed = {name: getattr(config, name).model_copy(update=values) for name, values in sections.items()}
    files.dump(config.model_copy(update=changed), run.config)


def assert_close(first: RunFolder, second: RunFolder, step: int) -> None:
    """The same losses, values and moments, as far as float32 sums taken in another order are."""
    assert losses(second) == pytest.approx(losses(first), rel=1e-5)
    for name in ("low_noise", "low_noise.exp_avg"):
        mine, theirs = (load_file(checkpoints.find(run, step).path / f"{name}.safetensors") for run in (second, first))
        assert set(mine) == set(theirs)
        for key, value in mine.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-4, atol=1e-5)


ALONE = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
SHARED = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}


def test_two_processes_equal_one_and_go_on_from_each_other(
    family: Path, tmp_path: Path, forked_trainers: ForkedTrainers
) -> None:
    reward = {"anchor_weight": 0.1, "kl_weight": 0.5, "kl_steps": "expert", "reward_model_path": str(family)}
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\n", encoding="utf-8")
    one = tiny_family.make_run(family, tmp_path, "one", train={"max_steps": 2, **ALONE}, reward=reward)
    divided = {"num_processes": 2, "zero_stage": 2, "hostfile": str(hosts)}
    two = tiny_family.make_run(
        family, tmp_path, "two", train={"max_steps": 2, **SHARED}, deepspeed=divided, reward=reward
    )
    done = start(one, 1)
    assert done.returncode == 0, done.stderr[-3000:]
    done = start(two, 2, hosts)
    assert done.returncode == 0, done.stderr[-3000:]
    status = read_status(two)
    assert status is not None and status.state == "completed"
    assert_close(one, two, step=2)
    assert {step: len(found) for step, found in samples.list_samples(two).items()} == {0: 3, 2: 3}

    change(one, train={"max_steps": 4, **SHARED}, deepspeed={"num_processes": 2, "zero_stage": 3})
    change(two, train={"max_steps": 4, **ALONE}, deepspeed={"num_processes": 1, "zero_stage": 1, "hostfile": None})
    assert forked_trainers.train([one.path], ranks=2)["codes"] == [0, 0], log_of(one.path)
    assert forked_trainers.train([two.path])["codes"] == [0], log_of(two.path)
    assert len(losses(one)) == 4
    assert_close(one, two, step=4)
    evaluations = [
        [r["eval/reward"] for r in metrics.read_all(run.metrics) if "eval/reward" in r] for run in (one, two)
    ]
    assert len(evaluations[0]) == 3 and evaluations[0] == pytest.approx(evaluations[1], rel=1e-4)


def test_two_processes_resume_bit_for_bit(family: Path, tmp_path: Path, forked_trainers: ForkedTrainers) -> None:
    changes: dict[str, dict[str, Any]] = {
        "train": {"max_steps": 4, "save_steps": 1, "ema_decay": 0.5, **SHARED},
        "evaluation": {"eval_steps": 4, "num_samples": 1},
        "deepspeed": {"num_processes": 2, "zero_stage": 3, "offload_optimizer": True},
        "lora": {"lora_rank": 3, "lora_dropout": 0.2},
    }
    whole, halves = (tiny_family.make_run(family, tmp_path, name, **changes) for name in ("whole", "halves"))
    change(halves, train={"max_steps": 2})
    for run in (whole, halves, halves):
        assert forked_trainers.train([run.path], ranks=2)["codes"] == [0, 0], log_of(run.path)
        change(halves, train={"max_steps": 4})
    assert losses(halves) == losses(whole)
    for name in ("low_noise", "low_noise.trained", "low_noise.exp_avg", "low_noise.exp_avg_sq"):
        mine, theirs = (load_file(checkpoints.find(run, 4).path / f"{name}.safetensors") for run in (halves, whole))
        assert set(mine) == set(theirs) and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_every_stage_on_two_processes_is_torch_alone(tmp_path: Path) -> None:
    """Gradient, update, a rank without samples, dropped and broken updates: see engine_cases."""
    port = str(free_port())
    ranks = []
    for rank in range(2):
        environment = train_environment(Placement(), int(port))
        environment.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", OMP_NUM_THREADS="1")
        environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), environment["PYTHONPATH"]])
        command = [sys.executable, str(engine_cases.__file__), str(tmp_path)]
        ranks.append(subprocess.Popen(command, env=environment))
    assert [process.wait(timeout=TIMEOUT) for process in ranks] == [0, 0]
    results = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    for case in engine_cases.CASES:
        first, second = results[0].get(case.name), results[1].get(case.name)
        assert first and second and "error" not in first and "error" not in second, (case.name, first, second)
        assert first["norms"] == second["norms"], case.name
        for norm, wanted in first["norms"]:
            assert norm == pytest.approx(wanted, rel=1e-5), case.name
        assert max(first["difference"], second["difference"]) < 1e-5, case.name
        assert first["base"] == pytest.approx(first["wanted_base"], rel=1e-5), case.name
        for result in (first, second):
            assert not math.isfinite(result["broken_norm"]), case.name
            assert result["broken_where"] is not None and result["broken_where"].endswith("the low-noise expert")
