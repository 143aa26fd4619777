"""SIGKILL at random moments: the run goes on from its last complete checkpoint and ends as if nothing had been."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from forked_trainers import ForkedTrainers, log_of
from safetensors.torch import load_file

from rewardfl_app.runs import checkpoints, metrics
from rewardfl_app.runs.folder import RunFolder

MakeRun = Callable[..., RunFolder]
KILLS = 20
STEPS = 6
KILLED = -9
MEASURED = {"time", "step_seconds", "peak_memory_gb"}


def records(run: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k not in MEASURED} for r in metrics.read_all(run.metrics)]


def make(make_run: MakeRun, name: str) -> RunFolder:
    return make_run(
        name,
        train={"max_steps": STEPS, "save_steps": 2, "ema_decay": 0.5},
        evaluation={"eval_steps": 4, "num_samples": 1},
        reward={"kl_target": 0.01},
        lora={"lora_dropout": 0.1},
    )


def assert_same_end(run: RunFolder, whole: RunFolder) -> None:
    assert records(run) == records(whole)
    mine, theirs = (load_file(checkpoints.find(each, STEPS).path / "low_noise.safetensors") for each in (run, whole))
    assert set(mine) == set(theirs) and all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_killed_twenty_times_at_random_moments(make_run: MakeRun, forked_trainers: ForkedTrainers) -> None:
    whole = make(make_run, "whole")
    done = forked_trainers.train([whole.path])
    assert done["codes"] == [0], log_of(whole.path)
    moments = random.Random(0)
    kills, number, run = 0, 0, make(make_run, "killed-0")
    while kills < KILLS:
        before = checkpoints.latest(run)
        # From the first moment to a little after where it would end, if it began anew.
        killed = forked_trainers.train([run.path], kill_after=moments.uniform(0.0, 1.1 * done["seconds"]))
        if killed["codes"] == [0]:
            assert_same_end(run, whole)
            number += 1
            run = make(make_run, f"killed-{number}")
            continue
        assert killed["codes"] == [KILLED], log_of(run.path)
        kills += 1
        latest = checkpoints.latest(run)
        saved, was = (0 if each is None else each.step for each in (latest, before))
        assert saved >= was
        steps = [record["step"] for record in records(run) if "loss" in record]
        assert steps == list(range(1, len(steps) + 1)) and len(steps) >= saved
    done = forked_trainers.train([run.path])
    assert done["codes"] == [0], log_of(run.path)
    assert_same_end(run, whole)


def test_two_processes_killed_together(make_run: MakeRun, forked_trainers: ForkedTrainers) -> None:
    settings = {
        "train": {"per_device_train_batch_size": 1, "max_steps": STEPS, "save_steps": 2},
        "evaluation": {"eval_steps": 4, "num_samples": 2},
        "deepspeed": {"num_processes": 2, "zero_stage": 2},
    }
    whole, run = (make_run(name, **settings) for name in ("whole", "killed"))
    done = forked_trainers.train([whole.path], ranks=2)
    assert done["codes"] == [0, 0], log_of(whole.path)
    for share in (0.7, 0.9):
        killed = forked_trainers.train([run.path], ranks=2, kill_after=share * done["seconds"])
        if killed["codes"] == [0, 0]:
            break
    assert forked_trainers.train([run.path], ranks=2)["codes"] == [0, 0], log_of(run.path)
    assert_same_end(run, whole)
