"""The command line on the queue, and on settings that change after the start."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_runs
import pytest
import yaml
from fake_runs import eventually

from rewardfl_app.cli import app
from rewardfl_app.runs import changes
from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import process, supervisor

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """Runs a command in tmp_path, where config.yaml is fine, with a stand-in trainer: code, output, errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(fake_runs.mapping(tmp_path / "files")))

    def run(*arguments: object, behaviour: str = "slow") -> tuple[int, str, str]:
        for name, value in fake_runs.trainer_environment(behaviour).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = app.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    yield run
    for left in list_runs(tmp_path / "runs"):
        record = read_json(left.process)
        if record is not None and record.get("role") == "wrapper":
            process.end_session(record, 0.0)


def test_queued_runs_are_listed_moved_and_taken_out(cli: Cli, tmp_path: Path) -> None:
    assert cli("queue")[1] == f"no run waits in {tmp_path / 'runs'}\n"
    first, second, third = (cli("train", "config.yaml", "--queue", "--name", name)[1].strip() for name in "abc")
    assert supervisor.state(RunFolder(tmp_path / "runs" / first)).state != "queued"
    assert cli("queue")[1].splitlines() == [f"1  {second}  b", f"2  {third}  c"]
    assert "Next in the queue" in cli("status", second)[1]
    code, told, _ = cli("queue", third, "--move", "-1", "--json")
    assert code == 0 and [row["id"] for row in json.loads(told)] == [third, second]
    assert cli("queue", third, "--remove")[1].splitlines() == [f"1  {second}  b"]
    assert "out of the queue" in cli("stop", second)[1] and cli("status", second)[1].count("stopped") == 1
    assert cli("queue", first, "--remove")[2].startswith("error: run " + first + " does not wait")
    for wrong in (["queue", "--remove"], ["queue", second], ["queue", second, "--remove", "--move", "1"]):
        code, _, errors = cli(*wrong)
        assert code == 2 and errors.startswith("error: ")


def test_a_live_setting_is_changed_and_the_receipt_is_printed(cli: Cli, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / cli("train", "config.yaml", "--detach")[1].strip())
    eventually(lambda: supervisor.state(run).state == "training")
    code, told, _ = cli("set", run.id, "train.learning_rate=1e-4", "reward.kl_weight=2")
    assert code == 0 and told == "done\ndone\n"  # the stand-in's receipts
    assert "asked run" in cli("set", run.id, "train.learning_rate=1e-4", "--detach")[1]
    code, _, errors = cli("set", run.id, "train.seed=1")
    assert code == 2 and errors.startswith("error: train.seed: seed applies in a new run alone")
    assert "section.field=value" in cli("set", run.id, "learning_rate")[2]
    cli("stop", run.id)
    supervisor.wait(run, poll=0.02)
    code, _, errors = cli("set", run.id, "train.learning_rate=1e-4")
    assert code == 2 and "is not running: it is stopped" in errors


def test_resume_takes_changes(cli: Cli, tmp_path: Path) -> None:
    code, _, _ = cli("train", "config.yaml", behaviour="completes")
    [run] = list_runs(tmp_path / "runs")
    commit(run, 3, begin(run, 3))
    assert code == 0 and "already completed" in cli("resume", run.id)[2]
    code, told, _ = cli("resume", run.id, "--set", "train.max_steps=5", behaviour="completes")
    assert code == 0 and "Completed" in told
    assert [(change.field, change.step, change.after) for change in changes.read(run)] == [("train.max_steps", 4, 5)]
    assert "at least 1" in cli("resume", run.id, "--set", "train.save_steps=0")[2]
