"""Runs as one holds them in a cell; the trainer is the stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_runs
import pytest

from rewardfl_app import configure, find, follow, list_runs, start
from rewardfl_app.config import files
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import RunNotFound
from rewardfl_app.supervisor import process
from rewardfl_app.supervisor.supervisor import NotRunning


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, value in fake_runs.trainer_environment("completes").items():
        monkeypatch.setenv(name, value)
    yield tmp_path / "runs"
    for run in list_runs(tmp_path / "runs"):
        record = read_json(run.folder.process)
        if record is not None and record.get("role") == "wrapper":
            process.end_session(record, 0.0)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    files.dump(fake_runs.config(tmp_path / "files"), path)
    return path


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from rewardfl_app import start, find, follow, score, compare, Run, Score, Compared; "
        "print([name for name in ('torch', 'diffusers', 'onnxruntime', 'gradio', 'plotly') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_a_run_is_started_followed_and_found_again(settings: Path, runs_dir: Path) -> None:
    run = start(settings, {"train.max_steps": 4}, name="a first <try>", runs_dir=runs_dir)
    followed = list(follow(run))
    assert followed and followed[-1] in run.records
    assert run.wait().state.state == "completed" and run.settings.train.max_steps == 4
    steps, rewards = run.curve("reward")
    assert steps == [record["step"] for record in run.updates] and len(rewards) == len(steps) > 0
    assert [record["step"] for record in run.evaluations] == sorted(record["step"] for record in run.evaluations)
    assert run.log(3).count("\n") <= 2
    for again in (find(run.id, runs_dir), find("a first <try>", runs_dir), find(run.path), find(runs_dir=runs_dir)):
        assert again.path == run.path and again.records == run.records
    assert [each.id for each in list_runs(runs_dir)] == [run.id]
    shown = run._repr_html_()
    assert "a first &lt;try&gt;" in shown and "completed" in shown and "<try>" not in shown
    assert repr(run).startswith(f"Run('{run.id}', completed, step ")
    with pytest.raises(NotRunning):
        run.stop()
    with pytest.raises(RunNotFound):
        find("no such run", runs_dir)


def test_one_started_elsewhere_is_followed_from_its_beginning(settings: Path, runs_dir: Path) -> None:
    run = start(settings, runs_dir=runs_dir).wait()
    assert list(follow(find(run.id, runs_dir))) == run.records


def test_a_configuration_is_a_preset_a_file_or_itself_with_changes(settings: Path) -> None:
    assert configure().model.model_name == "pocket"
    changed = configure("pocket", {"train.learning_rate": 1e-4, "sampling.decode_chunk": None})
    assert changed.train.learning_rate == 1e-4 and changed.sampling.decode_chunk is None
    assert configure(changed, {"train.seed": 7}).train.learning_rate == 1e-4
    assert configure(settings).model.model_name == configure(str(settings)).model.model_name == "wan2_2"
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ("pocket", {"train.learning_rat": 1}, "learning_rate"),
        ("pocket", {"max_steps": 1}, "section.field"),
        ("no-such-file.yaml", {}, "does not exist"),
        ("pocket", {"train.max_steps": 0, "train.seed": -1}, "train.seed"),
    ]
    for source, changes, words in wrong:
        with pytest.raises(ConfigError, match=words):
            configure(source, changes)


def test_a_queued_run_begins_by_itself(settings: Path, runs_dir: Path) -> None:
    run = start(settings, runs_dir=runs_dir, queued=True)
    fake_runs.eventually(lambda: find(run.id, runs_dir).state.state == "completed")


def test_an_alarm_shows_with_the_run(settings: Path, runs_dir: Path) -> None:
    run = start(settings, runs_dir=runs_dir).wait()
    assert "#c2410c" not in run._repr_html_() and run.alarm is None
    worse = {"step": 3, "eval/reward": 0.9, "eval/reward_baseline": 0.6, "eval/reward_gain": 0.3,
             "eval/reward_gain_low": 0.2, "eval/reward_gain_high": 0.4, "eval/judge": 0.5, "eval/judge_baseline": 0.7,
             "eval/judge_gain": -0.2, "eval/judge_gain_low": -0.3, "eval/judge_gain_high": -0.1}  # fmt: skip
    with run.folder.metrics.open("a") as opened:
        opened.write(json.dumps(worse) + "\n")
    assert run.alarm is not None and run.alarm.sentence in run._repr_html_()


def test_what_was_changed_since_the_start_is_told(settings: Path, runs_dir: Path) -> None:
    run = start(settings, {"train.max_steps": 4}, runs_dir=runs_dir).wait()
    assert run.changes == []
    run.resume({"train.max_steps": 6}).wait()
    (change,) = run.changes
    assert (change["setting"], change["before"], change["after"]) == ("train.max_steps", 4, 6)
    assert run.changes.column("setting") == ["train.max_steps"] and "before" in run.changes._repr_html_()
