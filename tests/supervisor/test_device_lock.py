"""Two runs never start on the same device by accident, wherever their folders are."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from fake_runs import eventually

from rewardfl_app.config import devices, validation
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs.changes import Change, record
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import device_lock, placement, process, queue, supervisor
from rewardfl_app.supervisor.placement import Placement

Start = Callable[..., RunFolder]


def on(folder: Path, devices: str, **deepspeed: Any) -> Any:
    """A configuration that trains on these GPUs."""
    settings = fake_runs.mapping(folder)
    count = len(devices.split(","))
    settings["deepspeed"] = {"devices": devices, "num_processes": count, **deepspeed}
    settings["train"]["train_batch_size"] = count
    return validation.build(settings)


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")


def test_the_first_visible_gpus_or_the_named_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Placement(2).devices == ("gpu 0", "gpu 1")
    assert Placement(2, chosen=("3", "1")).devices == ("gpu 3", "gpu 1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-ab, 2,-1,3")
    assert devices.visible_gpus() == ("GPU-ab", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Placement(2).devices == ("cpu",)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    for name in ("nvidia1", "nvidia0", "nvidia10", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(devices, "_DEVICE_FILES", tmp_path)
    assert devices.visible_gpus() == ("0", "1", "10")
    hosts = tmp_path / "hosts"
    hosts.write_text("localhost slots=2\nnode7 slots=4\n")
    assert Placement(6, hosts).devices == ("gpu 0", "gpu 1")


def test_a_placement_follows_what_was_changed_since(start: Start) -> None:
    run = start("slow", queue=True)
    assert placement.of(run) == Placement(1)
    record(run, Change(1, "deepspeed.devices", "", "2,3"))
    record(run, Change(1, "deepspeed.num_processes", 1, 2))
    assert placement.of(run) == Placement(2, chosen=("2", "3"))
    run.config.write_text("deepspeed: 7")
    with pytest.raises(ValueError, match="no section deepspeed"):
        placement.of(run)


def test_a_second_start_is_refused_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    first = start("slow")
    with pytest.raises(supervisor.DevicesBusy, match=f"Run {first.id} trains on GPU 0: add this run to the queue"):
        start("slow")
    assert [run.id for run in list_runs(tmp_path / "runs")] == [first.id]
    elsewhere = fake_runs.config(tmp_path / "other files")
    with pytest.raises(supervisor.DevicesBusy):
        supervisor.start(elsewhere, tmp_path / "other runs")
    other = supervisor.start(on(tmp_path / "third files", "1,2"), tmp_path / "other runs")
    eventually(lambda: supervisor.state(other).state == "training")
    with pytest.raises(supervisor.DevicesBusy, match="GPU 2"):
        supervisor.start(on(tmp_path / "fourth files", "2"), tmp_path / "runs")
    process.end_session(read_json(other.process) or {}, 0.0)


def test_the_device_is_free_as_soon_as_the_run_is_gone_however_it_went(start: Start, tmp_path: Path) -> None:
    first = start("slow")
    eventually(lambda: supervisor.state(first).state == "training")
    process.end_session(read_json(first.process) or {}, 0.0)
    eventually(lambda: supervisor.state(first).is_finished)
    second = start("completes")
    assert supervisor.wait(second, poll=0.02)["cause"] == "completed"
    assert supervisor.wait(start("completes"), poll=0.02)["cause"] == "completed"


def test_runs_that_share_are_all_remembered(start: Start) -> None:
    first, second = start("slow"), start("slow", share=True)
    assert supervisor.settings(second).deepspeed.share_devices
    supervisor.stop(first)
    supervisor.wait(first, poll=0.02)
    with pytest.raises(supervisor.DevicesBusy, match=second.id):
        start("slow")


def test_the_queue_starts_what_has_its_devices_and_keeps_the_order_on_each(start: Start, tmp_path: Path) -> None:
    start("slow")  # on GPU 0
    runs_dir = tmp_path / "runs"
    waits = [
        supervisor.enqueue(on(tmp_path / f"files {place}", devices), runs_dir, name=devices.replace(",", "and"))
        for place, devices in enumerate(("0,1", "1", "2", "2", "3"))
    ]
    assert queue.advance(runs_dir) == waits[2]
    # 1 is free, but the run before it waits for it; of the two on 2 the first has started.
    assert [run.id for run in queue.queued(runs_dir)] == [waits[0].id, waits[1].id, waits[3].id]
    assert {run.id for run in queue.active(runs_dir)} >= {waits[2].id, waits[4].id}
    assert queue.advance(runs_dir) is None


@pytest.mark.parametrize(
    ("devices", "more", "words"),
    [
        ("0,0", {}, "named twice"),
        ("0,1", {"num_processes": 1}, "name one per process"),
        ("-1", {}, "count from 0"),
        ("GPU-a,GPU-b", {}, "by number"),
        ("0", {"hostfile": "hosts"}, "hostfile"),
    ],
)
def test_devices_that_cannot_be_meant(tmp_path: Path, devices: str, more: dict[str, Any], words: str) -> None:
    if "hostfile" in more:
        (tmp_path / "hosts").write_text("localhost slots=1\n")
        more = {"hostfile": str(tmp_path / "hosts")}
    with pytest.raises(ConfigError, match=words):
        on(tmp_path / "files", devices, **more)


def test_the_state_folder_is_private_and_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device_lock.STATE_VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = device_lock.state_folder()
    assert folder.is_relative_to(tmp_path / "state") and stat.S_IMODE(folder.stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert device_lock.state_folder() == tmp_path / f"rewardfl-{os.getuid()}"
    (tmp_path / f"rewardfl-{os.getuid()}").rmdir()
    (tmp_path / f"rewardfl-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        device_lock.state_folder()


@pytest.mark.parametrize("content", ["", "[]", '{"runs": 3}', '{"runs": [3, "/nowhere"]}', "\0"])
def test_what_stands_in_a_device_file_does_no_harm(content: str) -> None:
    (device_lock.state_folder() / device_lock._file_name("cpu")).write_text(content)
    assert device_lock.holder(["cpu"]) is None
