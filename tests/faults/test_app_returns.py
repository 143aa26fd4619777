"""The real app is killed while runs go on, their watches too; when it is back it puts everything right by itself."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import fake_runs
import pytest
from app_process import AppProcess
from fake_runs import eventually
from faults import campaign, wholeness

from rewardfl_app.config.schema import Config
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import launch, process, supervisor


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    for name, value in campaign.prepare(tmp_path).items():
        monkeypatch.setenv(name, value)
    base = fake_runs.config(tmp_path / "files")
    train = base.train.model_copy(update={"max_steps": 100_000})
    yield base.model_copy(
        update={"train": train, "deepspeed": base.deepspeed.model_copy(update={"share_devices": True})}
    )
    for run in list_runs(tmp_path / "runs"):
        process.end_session(read_json(run.process) or {}, 0.0)


def kill(run: RunFolder, everything: bool) -> None:
    record = read_json(run.process) or {}
    pids = process.members(record) if everything else [int(record["pid"])]
    process.send(pids, signal.SIGKILL)


def test_what_was_killed_while_it_was_away_is_put_right(config: Config, tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    with AppProcess(runs_dir) as app:
        unwatched, gone, healthy, deleted = (supervisor.start(config, runs_dir) for _ in range(4))
        for run in (unwatched, gone, healthy, deleted):
            eventually(lambda run=run: len(wholeness.ledger(run)) > 2)
        app.kill()
    kill(unwatched, everything=False)
    kill(gone, everything=True)
    kill(deleted, everything=True)
    eventually(lambda: supervisor.state(deleted).state == "lost")
    shutil.move(deleted.path, runs_dir / f"{launch.DELETED}{deleted.id}-aa")  # cut off in the middle of deleting
    waiting = supervisor.enqueue(config, runs_dir)
    with AppProcess(runs_dir):
        eventually(lambda: gone.exit.exists() and "watcher" in (read_json(unwatched.process) or {}))
        assert supervisor.state(gone).state == "lost" and not wholeness.processes_of(gone)
        assert [event["kind"] for event in read_events(unwatched)] == ["adopted"]
        eventually(lambda: not list(runs_dir.glob(f"{launch.DELETED}*")))
        assert supervisor.state(healthy).state in campaign.ACTIVE
        assert supervisor.state(waiting).state == "queued"  # its device is not free
        for run in (unwatched, healthy):
            supervisor.stop(run)
            assert supervisor.wait(run, poll=0.05)["cause"] == "stopped"
            wholeness.check(run)
        eventually(lambda: supervisor.state(waiting).state in campaign.ACTIVE)
        supervisor.stop(waiting, now=True)
        assert supervisor.wait(waiting, poll=0.05)["cause"] == "stopped"
