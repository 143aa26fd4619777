"""The command line and the environment of the trainer."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from rewardfl_app.config import devices
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import hostfile
from rewardfl_app.supervisor.placement import Placement

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
TRAINER_VARIABLE = "REWARDFL_TRAINER"


def train_command(run: RunFolder, place: Placement, port: int | None = None) -> list[str]:
    """Argument list that trains `run`: the trainer itself for one process, `local_ranks` for several on processors,
    DeepSpeed's launcher (meeting on `port`) for several GPUs, or for the machines of a hostfile.

    The launcher reaches other machines by ssh without a password; they need this environment and the run folder at the
    same paths.

    The environment variable REWARDFL_TRAINER holds another command to run instead (the run folder is appended), which
    is how the tests put a small stand-in where the trainer is.
    """
    if place.num_processes < 1:
        raise ValueError(f"num_processes must be at least 1, got {place.num_processes}")
    stand_in = os.environ.get(TRAINER_VARIABLE)
    if stand_in:
        return [*shlex.split(stand_in), str(run.path)]
    trainer = ["rewardfl_app.training", str(run.path)]
    if not place.needs_launcher:
        several = ["-m", "rewardfl_app.supervisor.local_ranks", str(place.num_processes)]
        return [sys.executable, "-u", *(several if place.num_processes > 1 else []), "-m", *trainer]
    launcher = [sys.executable, "-u", "-m", "deepspeed.launcher.runner", "--no_local_rank"]
    if place.hosts is not None:
        launcher += ["--hostfile", str(place.hosts)]
        if hostfile.is_here(hostfile.read(place.hosts)):
            launcher += ["--no_ssh_check", "--master_addr", "127.0.0.1"]
    elif gpus := [name for name in place.gpus if name.isdecimal()]:
        # The launcher ignores CUDA_VISIBLE_DEVICES when it is told a number, and would take the first ones.
        launcher += ["--include", f"localhost:{','.join(gpus)}"]
    else:
        launcher += ["--num_accelerators", str(place.num_processes)]
    launcher += [] if port is None else ["--master_port", str(port)]
    return [*launcher, "--module", *trainer]


def wrapper_command(run: RunFolder, attempt: float | None = None, adopt: bool = False) -> list[str]:
    """Argument list of the wrapper process that runs the trainer, or with `adopt` watches the one that runs, and writes
    exit.json. `attempt`: when it was announced, Unix time; a wrapper that comes too late for it does nothing."""
    options = ["--adopt"] if adopt else []
    options += [] if attempt is None else ["--attempt", repr(attempt)]
    return [sys.executable, "-m", "rewardfl_app.supervisor.wrapper", str(run.path), *options]


def inference_command(*arguments: str) -> list[str]:
    """Argument list of the child process that generates or evaluates videos."""
    return [sys.executable, "-m", "rewardfl_app.inference", *arguments]


def bench_command(*arguments: str) -> list[str]:
    """Argument list of the child process that measures the engine."""
    return [sys.executable, "-m", "rewardfl_app.bench", *arguments]


def package_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process that can import this package from any working directory."""
    env = dict(os.environ if base is None else base)
    env.pop("REWARDFL_AUTH", None)  # the page's password is no business of a trainer
    # The child works in another folder: what was relative to this one must still be found.
    paths = [str(PACKAGE_ROOT), *(os.path.abspath(p) for p in env.get("PYTHONPATH", "").split(os.pathsep) if p)]
    env["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    env["PYTHONUNBUFFERED"] = "1"
    # Two OpenMP threads that spin while they wait slow each other down many times over on a busy machine.
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return env


def train_environment(place: Placement, port: int) -> dict[str, str]:
    """The trainer's environment: where no launcher is needed also what it would set, meeting on `port`."""
    env = package_environment()
    if place.needs_launcher:
        return env
    env.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if place.num_processes > 1:
        # Each would start as many threads as there are processors.
        env.setdefault("OMP_NUM_THREADS", str(devices.threads_each(place.num_processes)))
    else:
        env.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    if place.chosen:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(place.chosen)
    return env
