"""A run whose environment and errors are full of secrets: none of them is in any file of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_runs
import pytest
from page_run import FakeRun

from rewardfl_app.config import presets, validation
from rewardfl_app.inference import compare, passport
from rewardfl_app.inference.pairs import side
from rewardfl_app.runs import about
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import process, supervisor
from rewardfl_app.supervisor.child_log import last_words

SECRETS = {
    "HF_TOKEN": "hf_" + "mineMINEmineMINEmineMINEmine1234",
    "WANDB_API_KEY": "fedcba9876543210" * 2 + "01234567",
    "REWARDFL_AUTH": "me:my-very-own-password",
    "DB_PASSWORD": 'quoted"<password>&',
}
PARTS = tuple(value.rpartition(":")[2] for value in SECRETS.values())
# Prints and raises what it must not, as the trainer does: with its output quiet.
TALKATIVE = """
import logging, os, sys, warnings
from pathlib import Path
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.quiet_output import hide_secrets

hide_secrets()
logging.basicConfig(level=logging.INFO)
secrets = [os.environ[name] for name in ("HF_TOKEN", "WANDB_API_KEY", "DB_PASSWORD")]
for secret in secrets:
    print("the secret is", secret)
    logging.info("the secret is %s", secret)
    warnings.warn(secret)
log_event(RunFolder(Path(sys.argv[1])), "odd", " ".join(secrets), first=secrets[0], more={"all": secrets})
print("inherited:", "REWARDFL_AUTH" in os.environ)
raise RuntimeError("401 for " + " and ".join(secrets))
"""
REWARD = """
import os

class Leaky:
    def __init__(self, device):
        print("reward with", os.environ["HF_TOKEN"])
        raise RuntimeError("cannot log in with " + os.environ["HF_TOKEN"] + " and " + os.environ["DB_PASSWORD"])
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[Callable[[RunFolder], RunFolder]]:
    """Waits for a run; whatever still runs at the end of the test is ended."""
    runs: list[RunFolder] = []

    def wait(run: RunFolder) -> RunFolder:
        runs.append(run)
        supervisor.wait(run)
        return run

    yield wait
    for run in runs:
        if (record := read_json(run.process)) is not None:
            process.end_session(record, 0.0)


def no_secrets_in(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for part in PARTS:
            for written in (part, part.replace('"', '\\"'), part.replace('"', "&quot;").replace("<", "&lt;")):
                assert written.encode() not in content, f"{path.name} holds {part[:4]}..."


def test_a_failing_run_writes_none_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[[RunFolder], RunFolder]
) -> None:
    (tmp_path / "talkative.py").write_text(TALKATIVE)
    monkeypatch.setenv("REWARDFL_TRAINER", shlex.join([sys.executable, str(tmp_path / "talkative.py")]))
    monkeypatch.setattr(sys, "orig_argv", [*sys.orig_argv, "--auth", SECRETS["REWARDFL_AUTH"]])
    run = ended(supervisor.start(fake_runs.config(tmp_path / "files"), tmp_path / "runs"))
    account = read_json(run.exit) or {}
    assert account["cause"] == "unknown" and "401 for [secret] and [secret]" in account["sentence"]
    log = run.log.read_text()
    assert log.count("[secret]") > 6 and "inherited: False" in log
    assert "[secret]" in run.events.read_text()
    no_secrets_in(tmp_path / "runs")


def test_the_real_trainer_writes_none_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: Callable[[RunFolder], RunFolder]
) -> None:
    (tmp_path / "leaky.py").write_text(REWARD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = presets.preset("pocket").model_dump(mode="json")
    settings["reward"]["rewards"] = "face_similarity,leaky:Leaky"
    run = ended(supervisor.start(validation.build(settings), tmp_path / "runs"))
    assert "cannot log in with [secret]" in (read_json(run.exit) or {})["sentence"]
    assert "reward with [secret]" in run.log.read_text()
    no_secrets_in(run.path)


def test_passport_and_report_give_none_away(tmp_path: Path) -> None:
    told = " ".join(PARTS)
    run = FakeRun(tmp_path / "runs", f"run {told}", prompts=(f"a person {told}", "two"))
    run.baseline()
    run.evaluate(10)
    log_event(run.folder, "odd", told)
    about.put(run.folder, notes=told)
    run.finish("unknown", f"It failed with {told}.", told, 1)
    out = tmp_path / "out"
    out.mkdir()
    passport.build(run.folder, presets.preset("pocket"), out / "passport.html")
    compare.build(side(run.folder, 0), side(run.folder, 10), out)
    assert "[secret]" in (out / "passport.html").read_text() and "[secret]" in (out / "report.html").read_text()
    no_secrets_in(out)


def test_the_last_words_of_a_child_are_told_without_them(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    for line in (f"error: no access with {PARTS[0]}\n", f"ValueError: {PARTS[1]} was refused\n"):
        log.write_text(line)
        assert PARTS[0] not in last_words(log, "process") and PARTS[1] not in last_words(log, "process")
        assert "[secret]" in last_words(log, "process")
