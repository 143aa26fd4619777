"""Runs are started, watched, stopped and resumed through their folders, with a stand-in for the trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from fake_runs import eventually

from rewardfl_app.config import files, validation
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs.folder import RunFolder, RunsFolderError
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.metrics import read_all
from rewardfl_app.runs.status import Status, write_status
from rewardfl_app.supervisor import command, placement, process, supervisor

Start = Callable[..., RunFolder]


def wrapper_of(run: RunFolder) -> dict[str, Any]:
    record = read_json(run.process)
    assert record is not None
    return record


def test_a_run_completes_and_its_folder_tells_everything(start: Start) -> None:
    run = start("completes", name="First try", parent="older", notes="a note", tags=["x"])
    ended = supervisor.wait(run, poll=0.02)

    assert ended["cause"] == "completed" and ended["return_code"] == 0
    assert supervisor.state(run) == supervisor.RunState("completed", 3, 3, "Completed all 3 steps.", None, ended)
    info = read_json(run.run_info)
    assert info is not None
    assert (info["name"], info["parent"], info["notes"], info["tags"]) == ("First try", "older", "a note", ["x"])
    assert info["versions"]["numpy"] and info["created"] > 0
    assert len(info["data"]["data"]["sha256"]) == 64
    assert {Path(file["path"]).name for file in info["weights"]} >= {"high.safetensors", "vae.safetensors", "det.onnx"}
    record = wrapper_of(run)
    assert record["role"] == "wrapper" and record["host"] and record["boot_id"] and record["start_time"]
    assert record["command"] == command.wrapper_command(run, record["started"])
    eventually(lambda: not process.is_running(record))


def test_the_trainer_gets_a_launchers_environment_for_one_process(start: Start) -> None:
    first, second = start("completes"), start("completes", share=True)
    seen = []
    for run in (first, second):
        supervisor.wait(run, poll=0.02)
        seen.append(json.loads((run.path / "environment.json").read_text()))
    assert (seen[0]["RANK"], seen[0]["WORLD_SIZE"], seen[0]["LOCAL_RANK"]) == ("0", "1", "0")
    assert seen[0]["MASTER_ADDR"] == "127.0.0.1" and seen[0]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert first.path != second.path


def test_two_runs_at_once_do_not_meet(start: Start) -> None:
    runs = [start("slow"), start("slow", share=True)]
    for run in runs:
        eventually(lambda run=run: len(read_all(run.metrics)) > 3)
    ports = {json.loads((run.path / "environment.json").read_text())["MASTER_PORT"] for run in runs}
    assert len(ports) == 2
    supervisor.stop(runs[0])
    assert supervisor.wait(runs[0], poll=0.02)["cause"] == "stopped"
    assert supervisor.state(runs[1]).state == "training"


def test_more_gpus_go_through_the_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    four = placement.Placement(4)
    argv = command.train_command(RunFolder(tmp_path), four, port=29555)
    assert argv[1:4] == ["-u", "-m", "deepspeed.launcher.runner"]
    assert argv[argv.index("--master_port") + 1] == "29555"
    assert "--no_local_rank" in argv and argv[-3:] == ["--module", "rewardfl_app.training", str(tmp_path)]
    assert "RANK" not in command.train_environment(four, 29555) or "RANK" in os.environ


def test_the_frozen_configuration_has_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in fake_runs.trainer_environment("completes").items():
        monkeypatch.setenv(name, value)
    plain = fake_runs.mapping(Path("files"))
    assert not Path(plain["model"]["model_paths"]).is_absolute()
    run = supervisor.start(validation.build(plain), Path("runs"))
    supervisor.wait(run, poll=0.02)
    frozen = files.load(run.config)
    assert frozen.model.model_paths == str(tmp_path / "files" / "paths.json")
    assert frozen.data.metadata_path == str(tmp_path / "files" / "clips" / "metadata.csv")
    assert run.path.is_absolute()


@pytest.mark.parametrize(
    ("behaviour", "cause", "words"),
    [
        ("bad_data", "bad_data", "row 2"),
        ("crashes", "unknown", "flux capacitor"),
        ("out_of_gpu_memory", "out_of_gpu_memory", "while decoding at step 2 of 3"),
        ("segfaults", "killed_by_signal", "SIGSEGV"),
        ("leaves_silently", "unknown", "did not say why"),
    ],
)
def test_every_end_is_explained(start: Start, behaviour: str, cause: str, words: str) -> None:
    run = start(behaviour)
    ended = supervisor.wait(run, poll=0.02)
    assert ended["cause"] == cause
    assert words in ended["sentence"] and ended["next_step"]
    assert supervisor.state(run).state == "failed"


def test_stop_saves_and_resume_goes_on(start: Start) -> None:
    run = start("slow")
    eventually(lambda: len(read_all(run.metrics)) > 3)
    assert supervisor.state(run).state == "training"
    with pytest.raises(supervisor.AlreadyRunning):
        supervisor.resume(run)
    receipt = supervisor.stop(run)
    ended = supervisor.wait(run, poll=0.02)
    assert ended["cause"] == "stopped" and supervisor.state(run).state == "stopped"
    assert receipt in run.control_ack.read_text()
    with pytest.raises(supervisor.NotRunning, match="stopped"):
        supervisor.stop(run)

    first = wrapper_of(run)
    supervisor.resume(run)
    assert supervisor.state(run).exit is None
    eventually(lambda: supervisor.state(run).state == "training")
    assert wrapper_of(run)["pid"] != first["pid"]
    assert read_json(run.path / "exit.1.json") == ended


def test_a_stop_that_was_never_answered_does_not_stop_the_resumed_run(start: Start) -> None:
    run = start("ignores_stop")
    eventually((run.path / "ready").exists)
    supervisor.stop(run)
    assert supervisor.state(run).state == "stopping"
    os.kill(wrapper_of(run)["pid"], signal.SIGTERM)
    supervisor.wait(run, poll=0.02)
    os.environ.update(fake_runs.trainer_environment("slow"))
    supervisor.resume(run)
    eventually(lambda: len(read_all(run.metrics)) > 3)
    assert supervisor.state(run).state == "training"


def test_a_failed_run_can_be_resumed_and_complete(start: Start) -> None:
    run = start("first_fails_then_completes")
    assert supervisor.wait(run, poll=0.02)["cause"] == "unknown"
    supervisor.resume(run)
    assert supervisor.wait(run, poll=0.02)["cause"] == "completed"
    with pytest.raises(supervisor.SupervisorError, match="already completed"):
        supervisor.resume(run)


def test_a_run_whose_processes_were_killed_is_lost_and_can_be_resumed(start: Start) -> None:
    run = start("ignores_everything")
    eventually((run.path / "ready").exists)
    process.send(process.members(wrapper_of(run)), signal.SIGKILL)
    ended = supervisor.wait(run, poll=0.02)
    assert ended["cause"] == "lost" and "esume" in ended["next_step"]
    assert supervisor.state(run).state == "lost" and not run.exit.exists()
    os.environ.update(fake_runs.trainer_environment("completes"))
    supervisor.resume(run)
    assert supervisor.wait(run, poll=0.02)["cause"] == "completed"


def test_a_trainer_whose_wrapper_was_killed_alone_is_still_watched_and_stopped(start: Start) -> None:
    run = start("ignores_everything")
    eventually((run.path / "ready").exists)
    record = wrapper_of(run)
    os.kill(record["pid"], signal.SIGKILL)
    eventually(lambda: not process.is_running(record))
    assert supervisor.state(run).state == "training"
    with pytest.raises(supervisor.AlreadyRunning):
        supervisor.resume(run)
    process.send(process.members(record), signal.SIGKILL)
    eventually(lambda: supervisor.state(run).state == "lost")


def test_the_run_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import fake_runs; "
        "from rewardfl_app.supervisor import supervisor; "
        "folder = Path(sys.argv[1]); "
        "print(supervisor.start(fake_runs.config(folder / 'files'), folder / 'runs').path, flush=True); "
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    env = command.package_environment() | fake_runs.trainer_environment("slow")
    argv = [sys.executable, "-c", code, str(tmp_path), str(Path(fake_runs.__file__).parent)]
    told = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    run = RunFolder(Path(told.stdout.strip()))
    eventually(lambda: len(read_all(run.metrics)) > 3)
    assert supervisor.state(run).state == "training"
    supervisor.stop(run)
    assert supervisor.wait(run, poll=0.02)["cause"] == "stopped"


def test_the_state_is_checked_against_the_process(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    assert supervisor.state(run).state == "lost"
    own = process.describe(os.getpid(), [], role="starter", started=time.time())
    write_json_atomic(run.process, own)
    assert supervisor.state(run).state == "starting"
    write_status(run, Status("starting", step=2, total=9))  # as a start leaves it, whatever the attempt before said
    assert supervisor.state(run) == supervisor.RunState("starting", 2, 9, "starting the trainer", None, None)
    write_status(run, Status("training", step=2, total=9, seconds_left=7.0))
    assert supervisor.state(run) == supervisor.RunState("training", 2, 9, "", 7.0, None)
    write_json_atomic(run.process, {**own, "start_time": own["start_time"] - 1})
    assert supervisor.state(run).state == "lost"


def test_a_run_on_another_machine_is_not_called_lost(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    record = process.describe(os.getpid(), [], role="wrapper", started=0.0)
    write_json_atomic(run.process, {**record, "host": "node7", "boot_id": "other", "pid": 1})
    write_status(run, Status("training", step=2, total=9))
    state = supervisor.state(run)
    assert state.state == "training" and "node7" in state.message
    with pytest.raises(supervisor.SupervisorError, match="node7"):
        supervisor.resume(run)


def test_bad_input_makes_no_run_folder(tmp_path: Path) -> None:
    config = fake_runs.config(tmp_path / "files")
    (tmp_path / "files" / "clips" / "b.mp4").write_bytes(b"not a video")
    with pytest.raises(ConfigError, match="row 2"):
        supervisor.start(config, tmp_path / "runs")
    assert not [path for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")]


def test_a_runs_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunsFolderError, match="cannot be written"):
        supervisor.start(fake_runs.config(tmp_path / "files"), tmp_path / "file" / "runs")
