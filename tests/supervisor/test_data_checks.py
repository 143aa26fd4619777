"""Checks of a data set: one at a time for a table, told by their folder, and what was found is not looked for again."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import eventually, write_clips

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.data import manifest
from rewardfl_app.data.findings import Findings
from rewardfl_app.pocket import paths
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import data_checks, process
from rewardfl_app.supervisor.data_checks import DataCheck, DataCheckError

FAKE_CHECKER = Path(__file__).parent / "fake_checker.py"
REWARD = RewardConfig(reward_model_path=str(paths.FACE_PACK), det_size=96)


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts the stand-in in the child's place."""

    def choose(behaviour: str) -> None:
        monkeypatch.setenv(data_checks.CHECKER_VARIABLE, shlex.join([sys.executable, str(FAKE_CHECKER), behaviour]))

    return choose


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A metadata.csv of three clips."""
    write_clips(tmp_path / "clips", ("a.mp4", "b.mp4", "c.mp4"))
    path = tmp_path / "clips" / "metadata.csv"
    for index, name in enumerate(("a.mp4", "b.mp4", "c.mp4")):
        with open(path.parent / name, "ab") as clip:
            clip.write(bytes([index]))  # the same picture would be the same clip
    path.write_text("video,prompt\na.mp4,one\nb.mp4,two\nc.mp4,three\n")
    return path


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """A runs folder."""
    return tmp_path / "runs"


def _until(runs_dir: Path, table: Path, state: str) -> DataCheck:
    def now() -> DataCheck:
        check = data_checks.look(runs_dir, table, REWARD)
        assert check is not None
        return check

    eventually(lambda: now().state == state)
    return now()


def _looked(runs_dir: Path) -> list[str]:
    path = runs_dir / data_checks.FOLDER / "looked"
    return path.read_text().split() if path.is_file() else []


def _folder(runs_dir: Path) -> Path:
    (record,) = (runs_dir / data_checks.FOLDER).glob("*/request.json")
    return record.parent


def test_a_check_tells_its_progress_and_what_it_found(behave: Callable, table: Path, runs_dir: Path) -> None:
    behave("wait")
    runs_dir.mkdir()
    assert data_checks.look(runs_dir, table, REWARD) is None
    data_checks.start(runs_dir, table, REWARD)
    eventually(lambda: (data_checks.look(runs_dir, table, REWARD) or DataCheck(table, "", 0, None, "")).done == 2)
    again = data_checks.start(runs_dir, table, REWARD)
    assert again.done == 2 and not again.is_finished
    findings = Findings(data_checks.findings_path(runs_dir, REWARD))
    assert [findings.find(row) is not None for row in manifest.read(table)] == [True, True, False]
    (_folder(runs_dir) / "go").touch()
    assert (_until(runs_dir, table, "done").done, list_runs(runs_dir)) == (3, [])
    findings.refresh()
    assert all(findings.find(row) is not None for row in manifest.read(table))
    behave("done")
    data_checks.start(runs_dir, table, REWARD)
    _until(runs_dir, table, "done")
    assert _looked(runs_dir) == ["a.mp4", "b.mp4", "c.mp4"]


def test_a_cancelled_check_goes_on_where_it_was(behave: Callable, table: Path, runs_dir: Path) -> None:
    behave("wait")
    runs_dir.mkdir()
    data_checks.start(runs_dir, table, REWARD)
    eventually(lambda: (data_checks.look(runs_dir, table, REWARD) or DataCheck(table, "", 0, None, "")).done == 2)
    record = read_json(_folder(runs_dir) / "process.json") or {}
    data_checks.cancel(runs_dir, table, REWARD)
    assert _until(runs_dir, table, "cancelled").done == 2 and not process.members(record)
    data_checks.cancel(runs_dir, table, REWARD)
    behave("done")
    data_checks.start(runs_dir, table, REWARD)
    _until(runs_dir, table, "done")
    assert _looked(runs_dir) == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize(
    ("behaviour", "words"), [("crash", "MemoryError: not enough"), ("refuse", "The face pack is damaged.")]
)
def test_a_check_that_fails_says_why(behave: Callable, table: Path, runs_dir: Path, behaviour: str, words: str) -> None:
    behave(behaviour)
    runs_dir.mkdir()
    data_checks.start(runs_dir, table, REWARD)
    assert words in _until(runs_dir, table, "failed").message


def test_a_killed_check_is_no_mystery(behave: Callable, table: Path, runs_dir: Path) -> None:
    behave("wait")
    runs_dir.mkdir()
    data_checks.start(runs_dir, table, REWARD)
    _until(runs_dir, table, "working")
    process.send(process.members(read_json(_folder(runs_dir) / "process.json") or {}), signal.SIGKILL)
    assert "was ended before it was done" in _until(runs_dir, table, "failed").message


def test_another_detector_size_has_findings_of_its_own_and_the_judge_has_not(runs_dir: Path) -> None:
    path = data_checks.findings_path(runs_dir, REWARD)
    assert path != data_checks.findings_path(runs_dir, REWARD.model_copy(update={"det_size": 128}))
    assert path == data_checks.findings_path(runs_dir, REWARD.model_copy(update={"judge_model_path": "x.onnx"}))


def test_without_a_face_pack_nothing_starts(table: Path, runs_dir: Path) -> None:
    with pytest.raises(DataCheckError, match="correct its path"):
        data_checks.start(runs_dir, table, RewardConfig(reward_model_path="/nowhere"))
