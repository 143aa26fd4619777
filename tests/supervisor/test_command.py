from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardfl_app.config import devices
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor.command import (
    PACKAGE_ROOT,
    TRAINER_VARIABLE,
    package_environment,
    train_command,
    train_environment,
)
from rewardfl_app.supervisor.placement import Placement


def test_modules_of_the_folder_one_starts_from_are_found_by_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = package_environment({"PYTHONPATH": os.pathsep.join([".", "", "/elsewhere", "."])})["PYTHONPATH"]
    assert paths.split(os.pathsep) == [str(PACKAGE_ROOT), str(tmp_path), "/elsewhere"]


def test_gpus_and_a_hostfile_need_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRAINER_VARIABLE, raising=False)
    run = RunFolder(tmp_path / "run")
    ending = ["rewardfl_app.training", str(run.path)]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(devices, "_DEVICE_FILES", tmp_path)
    monkeypatch.setattr(devices, "num_processors", lambda: 7)
    one = Placement()
    assert train_command(run, one, 29)[1:] == ["-u", "-m", *ending]
    environment = train_environment(one, 29)
    assert environment["RANK"] == "0" and "OMP_NUM_THREADS" not in environment
    two = Placement(2)
    assert train_command(run, two, 29)[1:] == ["-u", "-m", "rewardfl_app.supervisor.local_ranks", "2", "-m", *ending]
    environment = train_environment(two, 29)
    assert (environment["MASTER_PORT"], environment["OMP_NUM_THREADS"]) == ("29", "3") and "RANK" not in environment
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert train_command(run, two, 29)[3:] == [
        "deepspeed.launcher.runner", "--no_local_rank", "--num_accelerators", "2", "--master_port", "29", "--module",
        *ending,
    ]  # fmt: skip
    assert "MASTER_PORT" not in train_environment(two, 29)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=1\n")
    local = ["--hostfile", str(hosts), "--no_ssh_check", "--master_addr", "127.0.0.1", "--master_port", "29"]
    assert train_command(run, Placement(1, hosts), 29)[5:] == [*local, "--module", *ending]
    hosts.write_text("worker-0 slots=2\nworker-1 slots=2\n")
    assert train_command(run, Placement(4, hosts), 29)[5:] == [*local[:2], *local[5:], "--module", *ending]
    assert "RANK" not in train_environment(Placement(1, hosts), 29)


def test_the_launcher_is_told_the_very_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a number alone it takes the first ones, whatever CUDA_VISIBLE_DEVICES says."""
    monkeypatch.delenv(TRAINER_VARIABLE, raising=False)
    run = RunFolder(tmp_path / "run")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    argv = train_command(run, Placement(2), 29)
    assert argv[argv.index("--include") + 1] == "localhost:4,5" and "--num_accelerators" not in argv
    argv = train_command(run, Placement(2, chosen=("1", "3")), 29)
    assert argv[argv.index("--include") + 1] == "localhost:1,3"
    assert train_environment(Placement(1, chosen=("GPU-abc",)), 29)["CUDA_VISIBLE_DEVICES"] == "GPU-abc"
    assert train_environment(Placement(1), 29)["CUDA_VISIBLE_DEVICES"] == "4,5,6"
