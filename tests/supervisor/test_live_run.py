"""The whole way with the real trainer in processes of its own: changed while it runs, stopped, resumed with changes,
and bit for bit what an uninterrupted run with the same changes makes."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brightness_trainer
import pytest
import tiny_family
from fake_runs import eventually
from safetensors import safe_open

from rewardfl_app.config import validation
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import changes, checkpoints, control, metrics, queue_file
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import process, queue, supervisor
from rewardfl_app.supervisor.command import TRAINER_VARIABLE

MORE_STEPS = 3


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """More steps than anyone waits for; random networks, with the brightness of the picture as their reward."""
    command = [sys.executable, str(brightness_trainer.__file__)]
    monkeypatch.setenv(TRAINER_VARIABLE, shlex.join(command))
    family = tiny_family.make_family(tmp_path / "family")
    train = {"max_steps": 5000, "save_steps": 5000}
    evaluation = {"eval_steps": 5000, "num_samples": 1}
    yield validation.build(tiny_family.settings(family, {"train": train, "evaluation": evaluation}))
    for run in list_runs(tmp_path / "runs"):
        record = read_json(run.process)
        if record is not None and record.get("role") == "wrapper":
            process.end_session(record, 0.0)


def receipt(run: RunFolder, request: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def told() -> bool:
        found[:] = [answer for answer in control.receipts(run) if answer["id"] == request]
        return bool(found) or supervisor.state(run).is_finished

    eventually(told)
    assert found, supervisor.state(run).message
    return found[0]


def rates(run: RunFolder) -> dict[int, float]:
    return {r["step"]: r["learning_rate"] for r in metrics.read_all(run.metrics) if "learning_rate" in r}


def saved(run: RunFolder) -> dict[str, bytes]:
    folder = checkpoints.find(run, "latest").path
    found = {}
    for file in folder.glob("low_noise*.safetensors"):
        with safe_open(file, framework="numpy") as opened:
            found.update({f"{file.stem}/{name}": opened.get_tensor(name).tobytes() for name in opened.keys()})  # noqa: SIM118
    return found


def test_changed_live_stopped_and_resumed_with_changes(config: Config, tmp_path: Path) -> None:
    run = supervisor.start(config, tmp_path / "runs", "changed")
    eventually(lambda: supervisor.state(run).step >= 2 or supervisor.state(run).is_finished)
    told = receipt(run, supervisor.set_live(run, "train.learning_rate", "2e-3"))
    first = told["step"] + 1
    assert told["message"] == f"learning_rate is 0.002 from step {first} on; it was 0.01."
    refused = receipt(run, supervisor.set_live(run, "train.learning_rate", 2e-3))
    assert refused["refused"] and "already" in refused["message"]
    receipt(run, supervisor.stop(run))
    assert supervisor.wait(run, poll=0.05)["cause"] == "stopped"
    stopped = supervisor.state(run).step

    supervisor.resume(run, {"train.max_steps": stopped + MORE_STEPS, "reward.kl_weight": 2})
    assert supervisor.wait(run, poll=0.05)["cause"] == "completed"
    assert supervisor.state(run).total == stopped + MORE_STEPS
    assert [change.field for change in changes.read(run)] == [
        "train.learning_rate",
        "train.max_steps",
        "reward.kl_weight",
    ]
    assert rates(run) == {step: 1e-2 if step < first else 2e-3 for step in range(1, stopped + MORE_STEPS + 1)}
    live = [event["message"] for event in read_events(run) if event["kind"] == "live"]
    assert f"kl_weight is 2 from step {stopped + 1} on; it was 0.5." in live

    twin = supervisor.enqueue(config, tmp_path / "runs", "twin")
    shutil.copyfile(run.changes, twin.changes)
    assert queue.advance(tmp_path / "runs") == twin and not (tmp_path / "runs" / queue_file.NAME).exists()
    assert supervisor.wait(twin, poll=0.05)["cause"] == "completed"
    assert rates(twin) == rates(run)
    assert saved(twin) == saved(run)
