"""Fifty short runs through the queue, while the app is killed twice: all end as they should, in order, one at a time on
each device."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import fake_runs
import pytest
from fake_runs import eventually
from faults.campaign import App
from faults.wholeness import processes_of

from rewardfl_app.config.schema import Config
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import process, queue, supervisor
from rewardfl_app.supervisor.command import TRAINER_VARIABLE

RUNS = 50
# By the name of the run: it completes, fails, or is killed; each notes when it had its device, from when to when.
TRAINER = """
import json, os, signal, sys, time
from pathlib import Path
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.status import Status, write_status
run = RunFolder(Path(sys.argv[1]))
name = json.loads(run.run_info.read_text())["name"]
began = time.monotonic()
write_status(run, Status("training", step=1, total=1))
time.sleep(0.05)
with open(run.path.parent.parent / "order.jsonl", "a") as file:
    file.write(json.dumps([name, run.config.read_text().count("devices: '1'"), began, time.monotonic()]) + "\\n")
if "fails" in name:
    raise RuntimeError("as it should")
if "killed" in name:
    os.kill(os.getpid(), signal.SIGKILL)
write_status(run, Status("completed", step=1, total=1))
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    monkeypatch.setenv(TRAINER_VARIABLE, shlex.join([sys.executable, str(script)]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    return fake_runs.config(tmp_path / "files")


def expected(number: int) -> str:
    return "fails" if number % 7 == 3 else "killed" if number % 11 == 5 else "completes"


def test_fifty_runs_through_the_queue_with_the_app_killed_twice(config: Config, tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    on_second = config.model_copy(update={"deepspeed": config.deepspeed.model_copy(update={"devices": ("1",)})})
    app = App(runs_dir)
    runs: list[RunFolder] = []
    for number in range(RUNS):
        settings = on_second if number % 5 == 4 else config
        runs.append(supervisor.enqueue(settings, runs_dir, name=f"{number:02d} {expected(number)}"))

    def ended() -> int:
        return sum(run.exit.exists() for run in runs)

    app.start()
    try:
        for share in (0.3, 0.6):
            eventually(lambda share=share: ended() >= share * RUNS, 300)
            app.kill()
            # Whatever runs now, and what comes after it, does not need the app; the watch of one run is lost, too, at
            # whatever moment: a run that had not begun waits again.
            going = queue.active(runs_dir)
            for run in going[:1]:
                process.send([int((read_json(run.process) or {"pid": 0})["pid"])], signal.SIGKILL)
            app.start()
        eventually(lambda: ended() == RUNS, 300)
    finally:
        app.kill()
    for number, run in enumerate(runs):
        now = supervisor.state(run)
        # Nobody saw how one ended whose watch was killed.
        wanted = ("completed",) if expected(number) == "completes" else ("failed", "lost")
        assert now.state in wanted, (number, now)
        eventually(lambda run=run: not processes_of(run))
    assert queue.queued(runs_dir) == []
    lines = [json.loads(line) for line in (tmp_path / "order.jsonl").read_text().splitlines()]
    assert len(lines) == RUNS and len({name for name, *_ in lines}) == RUNS
    for device in (0, 1):
        mine: list[Any] = sorted((line for line in lines if line[1] == device), key=lambda line: line[2])
        assert [name for name, *_ in mine] == sorted(name for name, *_ in mine)
        assert all(earlier[3] <= later[2] for earlier, later in zip(mine, mine[1:], strict=False))
