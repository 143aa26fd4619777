"""The bench of waiting: what a run's files tell of its seconds, and the whole of it on a stand-in for the trainer."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import fake_runs
import pytest

from rewardfl_app.bench import app_process, startup, trained_run
from rewardfl_app.bench.app_process import Start
from rewardfl_app.bench.case import CaseFailed
from rewardfl_app.bench.report import Report
from rewardfl_app.bench.workload import changed
from rewardfl_app.config import presets
from rewardfl_app.runs import alarm, metrics
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.status import Status


def made_up(runs_dir: Path) -> tuple[RunFolder, float, list[Status]]:
    """A run whose every moment is known: asked for at 1000, a step each at 1040, 1045 and 1047, over at 1060."""
    run = RunFolder.create(runs_dir, "made up")
    write_json_atomic(run.process, {"started": 1002.0})
    told: list[tuple[str, int, str, float]] = [
        ("starting", 0, "", 1002), ("loading", 0, "Loading the video model.", 1010),
        ("evaluating", 0, "Rendering the base model.", 1015), ("evaluating", 0, "Evaluation video 1 of 2.", 1016),
        ("training", 1, "Step 1 of 3.", 1040), ("training", 2, "Step 2 of 3.", 1045), ("training", 3, "", 1047),
        ("evaluating", 3, "Rendering.", 1047), ("evaluating", 3, "Evaluation video 1 of 2.", 1048),
        ("saving", 3, "Saving.", 1055), ("completed", 3, "Completed.", 1057),
    ]  # fmt: skip
    statuses = [Status(s, s, step, 3, message, heartbeat=at) for s, step, message, at in told]  # type: ignore[arg-type]
    for kind, at in (("baseline", 1030.0), ("evaluation", 1055.0), ("checkpoint", 1056.0)):
        log_event(run, kind, kind)
        lines = run.events.read_text().splitlines()
        lines[-1] = json.dumps({**json.loads(lines[-1]), "time": at})
        run.events.write_text("\n".join(lines) + "\n")
    records = [{"step": step, "time": at, "reward": 0.6, "step_seconds": took}
               for step, at, took in ((1, 1040, 9.0), (2, 1045, 5.0), (3, 1047, 2.0))]  # fmt: skip
    base = {"reward": 0.5, "judge": 0.6, "motion": 4.0}
    last = {f"eval/{name}": value * 1.1 for name, value in base.items()}
    last |= {f"eval/{name}_baseline": value for name, value in base.items()}
    last |= {"eval/judge_gain": 0.06, "eval/judge_gain_low": 0.04, "eval/judge_gain_high": 0.08}
    run.metrics.write_text("".join(json.dumps(r) + "\n" for r in [*records, {"step": 3, "time": 1055, **last}]))
    write_json_atomic(run.exit, {"return_code": 0, "cause": "completed"})
    os.utime(run.exit, (1060, 1060))
    return run, 1000.0, statuses


def test_every_second_of_a_run_is_told(tmp_path: Path) -> None:
    run, asked, statuses = made_up(tmp_path)
    report = Report("startup", startup._COLUMNS)
    startup._tell_run(report, run, asked, statuses, presets.preset("pocket"))
    rows = {str(row[1]): row for row in report.rows}
    seconds = {name: row[2] for name, row in rows.items()}
    assert seconds["loading: Loading the video model"] == 5
    assert seconds["the base model's evaluation"] == 15 and rows["the base model's evaluation"][3] == 1
    assert (seconds["evaluations"], rows["evaluations"][3]) == (8, 1)
    assert (seconds["saving"], seconds["the end of the processes"]) == (1, 3)
    assert (seconds["the first update"], seconds["further updates"], seconds["one further update, median"]) == (
        9,
        7,
        3.5,
    )
    assert seconds["between updates"] == pytest.approx(2)
    assert seconds["Start to the end of the run"] == 60 and seconds["Start to the first point of the reward"] == 40
    parts = [row for row in report.rows if not str(row[1]).startswith(("Start", "one"))]
    assert sum(float(row[2] or 0) for row in parts) == pytest.approx(60)
    assert sum(float(row[0] or 0) for row in parts) == pytest.approx(1)
    assert [(mark.value, mark.met) for mark in report.marks] == [(40, False), (60, True), (0.04, True)]
    assert "judge +0.060 (+0.040 to +0.080), motion 110%" in " ".join(report.notes)


def test_other_runs_are_not_held_against_the_demonstrations_marks(tmp_path: Path) -> None:
    run, asked, statuses = made_up(tmp_path)
    report = Report("startup", startup._COLUMNS)
    startup._tell_run(report, run, asked, statuses, changed(presets.preset("pocket"), train={"max_steps": 3}))
    assert [mark.limit for mark in report.marks] == [30.0]


def test_a_run_without_an_evaluation_has_no_gain(tmp_path: Path) -> None:
    run, asked, statuses = made_up(tmp_path)
    run.metrics.write_text('{"step": 1, "time": 1040, "reward": null}\n')
    report = Report("startup", startup._COLUMNS)
    startup._tell_run(report, run, asked, statuses, presets.preset("pocket"))
    assert not alarm.after_training(metrics.read_all(run.metrics))
    assert [mark.met for mark in report.marks] == [True, False]  # in time, and improves nothing


def test_imports_are_summed_by_package() -> None:
    log = "Step 1\nimport time: self [us] | cumulative | imported package\n"
    log += "import time:       250 |        250 |   torch._C\nimport time:    750000 |     900000 | torch\n"
    log += "import time:      1000 |       1000 |     json.decoder\n"
    assert startup.imported(log) == {"torch": pytest.approx(0.75025), "json": pytest.approx(0.001)}


def test_the_whole_bench_on_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_runs.trainer_environment("completes").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(app_process, "start", lambda runs_dir: Start(1.5, 0))
    messages: list[str] = []
    config = fake_runs.config(tmp_path / "files")
    report = startup.measure(config, lambda message, done, total: messages.append(message))
    marks = {mark.what: mark for mark in report.marks}
    assert marks["files of torch in the memory of the app's process"].met
    assert marks["seconds from launch_app.py to the page, median"].value == 1.5
    names = [str(row[1]) for row in report.rows]
    assert any(name.startswith("imports of the run's processes: ") for name in names)
    assert report.parameters["imports"]["rewardfl_app"] > 0
    assert "Start to the first point of the reward" in names and "starting the app" in messages
    json.dumps(report.content())


def test_the_real_app_answers_without_torch(tmp_path: Path) -> None:
    started = app_process.start(tmp_path / "runs")
    assert started.seconds > 0 and started.num_torch in (0, None)
    assert app_process._torch_files(os.getpid()) != 0  # this process has it


def test_an_app_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_process, "command", lambda: [sys.executable, "-c", "raise SystemExit('error: no room')"])
    with pytest.raises(CaseFailed, match="^no room$"):
        app_process.start(tmp_path / "runs")


def test_a_run_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_runs.trainer_environment("bad_data").items():
        monkeypatch.setenv(name, value)
    config = fake_runs.config(tmp_path / "files")
    with pytest.raises(CaseFailed, match="row 2"):
        trained_run.train(config, tmp_path / "runs")
    missing = changed(config, data={"metadata_path": str(tmp_path / "files" / "clips" / "metadata.csv")})
    (tmp_path / "files" / "clips" / "metadata.csv").unlink()
    with pytest.raises(CaseFailed, match=r"metadata\.csv"):
        trained_run.train(missing, tmp_path / "runs")


def test_a_run_is_stopped_when_it_is_no_longer_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_runs.trainer_environment("slow").items():
        monkeypatch.setenv(name, value)

    def seen(status: Status) -> None:
        if status.step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained_run.train(fake_runs.config(tmp_path / "files"), tmp_path / "runs", seen)
    run = list_runs(tmp_path / "runs")[0]
    fake_runs.eventually(run.exit.exists)
    assert json.loads(run.exit.read_text())["cause"] == "stopped"
