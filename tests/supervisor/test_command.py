from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor.command import (
    PACKAGE_ROOT,
    TRAINER_VARIABLE,
    package_environment,
    train_command,
    train_environment,
)


def test_modules_of_the_folder_one_starts_from_are_found_by_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = package_environment({"PYTHONPATH": os.pathsep.join([".", "", "/elsewhere", "."])})["PYTHONPATH"]
    assert paths.split(os.pathsep) == [str(PACKAGE_ROOT), str(tmp_path), "/elsewhere"]


def test_one_process_needs_no_launcher_but_a_hostfile_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRAINER_VARIABLE, raising=False)
    run = RunFolder(tmp_path / "run")
    ending = ["rewardfl_app.training", str(run.path)]
    assert train_command(run, 1, 29)[-3:] == ["-m", *ending]
    assert "RANK" in train_environment(1, 29)
    two = train_command(run, 2, 29)
    assert two[3:] == [
        "deepspeed.launcher.runner", "--no_local_rank", "--num_accelerators", "2", "--master_port", "29", "--module",
        *ending,
    ]  # fmt: skip
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=1\n")
    local = ["--hostfile", str(hosts), "--no_ssh_check", "--master_addr", "127.0.0.1", "--master_port", "29"]
    assert train_command(run, 1, 29, hosts)[5:] == [*local, "--module", *ending]
    hosts.write_text("worker-0 slots=2\nworker-1 slots=2\n")
    assert train_command(run, 4, 29, hosts)[5:] == [*local[:2], *local[5:], "--module", *ending]
    assert "RANK" not in train_environment(1, 29, hosts)
