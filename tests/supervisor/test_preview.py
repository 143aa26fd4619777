"""The Playground's worker from outside: started when it is needed, gone when training needs the device, never believed
when it is dead."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_runs
import pytest
from fake_runs import eventually
from PIL import Image

from rewardfl_app.config import files
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs import previews
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.previews import Preview, PreviewFolder, PreviewRequest
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import preview, process, supervisor
from rewardfl_app.supervisor.preview import PreviewError, PreviewList

FAKE = Path(__file__).parent / "fake_previewer.py"


@pytest.fixture
def runs_dir(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "runs"
    path.mkdir()
    yield path
    preview.give_back(path, wait=2.0)


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts the stand-in in the worker's place, for workers that are started from now on."""
    return lambda behaviour: monkeypatch.setenv(
        preview.WORKER_VARIABLE, shlex.join([sys.executable, str(FAKE), behaviour])
    )


@pytest.fixture
def ask(runs_dir: Path, tmp_path: Path) -> Callable[..., Preview]:
    Image.new("RGB", (64, 64), (90, 120, 160)).save(tmp_path / "picture.png")

    def put(prompt: str = "a man", checkpoint: str | None = "5") -> Preview:
        request = PreviewRequest(runs_dir / "some-run", checkpoint, prompt, 7, 1.5, {"model": "mine"})
        return preview.ask(runs_dir, request, tmp_path / "picture.png")

    return put


def _state(runs_dir: Path, asked: Preview) -> str:
    found = preview.find(runs_dir, asked.id)
    return "gone" if found is None else found.state


def _until(runs_dir: Path, asked: Preview, state: str) -> Preview:
    eventually(lambda: _state(runs_dir, asked) == state)
    found = preview.find(runs_dir, asked.id)
    assert found is not None
    return found


def _pid(runs_dir: Path) -> int:
    return int((read_json(PreviewFolder.of(runs_dir).process) or {})["pid"])


def _training(runs_dir: Path, name: str = "training") -> RunFolder:
    """A run that this test process plays the trainer of."""
    run = RunFolder.create(runs_dir, name)
    write_json_atomic(run.process, process.describe(os.getpid(), ["test"], role="wrapper", started=time.time()))
    return run


def test_a_request_is_kept_with_its_picture_and_served(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("done")
    asked = ask("<b>a man</b>")
    done = _until(runs_dir, asked, "done")
    assert done.request == PreviewRequest(runs_dir / "some-run", "5", "<b>a man</b>", 7, 1.5, {"model": "mine"})
    assert done.video("base").is_file() and done.video("tuned").is_file() and done.result()["step"] == 5
    assert Image.open(done.picture).size == (64, 64)
    assert preview.jobs(runs_dir) == [done] and list_runs(runs_dir) == []


def test_one_worker_serves_several_requests(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("done")
    first = ask()
    _until(runs_dir, first, "done")
    pid = _pid(runs_dir)
    second, third = ask(), ask()
    _until(runs_dir, third, "done")
    assert _pid(runs_dir) == pid and preview.state(runs_dir).is_on
    assert [job.id for job in preview.jobs(runs_dir)] == [third.id, second.id, first.id]


def test_progress_is_told(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("wait")
    asked, listed = ask(), PreviewList(runs_dir)
    working = _until(runs_dir, asked, "working")
    assert (working.done, working.total, working.message) == (1, 12, "Base model: step 2 of 4")
    assert listed.jobs() == [working]
    eventually(lambda: preview.state(runs_dir) == preview.WorkerState("working", "stand-in"))
    (working.folder / "go").touch()
    done = _until(runs_dir, asked, "done")
    assert listed.jobs() == [done]


def test_the_device_is_given_back_and_the_request_waits_again(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("wait")
    asked = ask()
    _until(runs_dir, asked, "working")
    record = read_json(PreviewFolder.of(runs_dir).process) or {}
    preview.give_back(runs_dir)
    assert not process.is_running(record) and preview.state(runs_dir) == preview.WorkerState("off")
    assert _state(runs_dir, asked) == "waiting"
    preview.give_back(runs_dir)  # nothing is left to do
    behave("done")
    preview.advance(runs_dir)
    _until(runs_dir, asked, "done")


def test_a_worker_that_hears_nothing_is_killed(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("stuck")
    asked = ask()
    _until(runs_dir, asked, "working")
    record = read_json(PreviewFolder.of(runs_dir).process) or {}
    preview.give_back(runs_dir, wait=0.2)
    eventually(lambda: not process.is_running(record))
    assert _state(runs_dir, asked) == "waiting"


def test_while_a_run_trains_requests_wait(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("done")
    run = _training(runs_dir)
    assert preview.training(runs_dir) == run
    asked = ask()
    assert asked.state == "waiting" and not preview.state(runs_dir).is_on
    preview.advance(runs_dir)
    assert not preview.state(runs_dir).is_on
    write_json_atomic(run.exit, {"cause": "completed"})
    assert preview.training(runs_dir) is None
    preview.advance(runs_dir)
    _until(runs_dir, asked, "done")


def test_a_run_that_starts_takes_the_device_and_its_end_gives_it_back(
    behave: Callable, ask: Callable, runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave("wait")
    asked = ask()
    _until(runs_dir, asked, "working")
    record = read_json(PreviewFolder.of(runs_dir).process) or {}
    for name, value in fake_runs.trainer_environment("train").items():
        monkeypatch.setenv(name, value)
    behave("done")
    run = supervisor.start(fake_runs.config(tmp_path / "files"), runs_dir, "first")
    assert not process.is_running(record)
    supervisor.wait(run)
    _until(runs_dir, asked, "done")  # nobody has a page open


def test_a_killed_worker_is_told_and_the_next_request_starts_another(
    behave: Callable, ask: Callable, runs_dir: Path
) -> None:
    behave("wait")
    asked, later = ask("first"), ask("second")
    _until(runs_dir, asked, "working")
    old = _pid(runs_dir)
    os.kill(old, signal.SIGKILL)
    failed = _until(runs_dir, asked, "failed")
    assert "ended before it was done" in failed.message and "log.txt" in failed.message
    assert [job.state for job in PreviewList(runs_dir).jobs()] == ["waiting", "failed"]
    behave("done")
    preview.advance(runs_dir)
    _until(runs_dir, later, "done")
    assert _pid(runs_dir) != old and _state(runs_dir, asked) == "failed"


def test_a_crash_is_told_with_the_log(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("crash")
    failed = _until(runs_dir, ask(), "failed")
    assert "RuntimeError: something broke" in failed.message and "log.txt" in failed.message


def test_a_worker_that_dies_before_it_looks_is_not_started_for_ever(
    behave: Callable, ask: Callable, runs_dir: Path
) -> None:
    behave("refuse")
    asked = ask()
    eventually(lambda: not preview.state(runs_dir).is_on)
    preview.advance(runs_dir)
    failed = _until(runs_dir, asked, "failed")
    assert "ImportError: no such library" in failed.message
    preview.advance(runs_dir)
    assert not preview.state(runs_dir).is_on


def test_waiting_and_working_can_be_cancelled(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("wait")
    working, waiting = ask(), ask()
    preview.cancel(runs_dir, waiting)
    assert _state(runs_dir, waiting) == "cancelled"
    found = _until(runs_dir, working, "working")
    preview.cancel(runs_dir, found)
    _until(runs_dir, working, "cancelled")
    assert preview.state(runs_dir).is_on  # it keeps the model for what comes next
    run = _training(runs_dir)
    preview.give_back(runs_dir)
    idle = ask()
    preview.cancel(runs_dir, idle)
    assert _state(runs_dir, idle) == "cancelled"
    write_json_atomic(run.exit, {"cause": "completed"})


def test_only_what_is_finished_is_deleted(behave: Callable, ask: Callable, runs_dir: Path) -> None:
    behave("wait")
    asked, listed = ask(), PreviewList(runs_dir)
    preview.delete(_until(runs_dir, asked, "working"))
    assert _state(runs_dir, asked) == "working" and len(listed.jobs()) == 1
    (asked.folder / "go").touch()
    preview.delete(_until(runs_dir, asked, "done"))
    assert preview.find(runs_dir, asked.id) is None and listed.jobs() == []
    assert list(PreviewFolder.of(runs_dir).results.iterdir()) == []


def test_too_many_waiting_and_an_unwritable_folder_are_one_sentence(
    behave: Callable, ask: Callable, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "MOST_WAITING", 1)
    behave("wait")
    ask()
    with pytest.raises(PreviewError, match="wait for one of them"):
        ask()
    preview.give_back(runs_dir)
    folder = PreviewFolder.of(runs_dir)
    folder.path.rename(runs_dir / ".aside")
    folder.path.write_text("in the way")
    with pytest.raises(PreviewError, match="free space there"):
        ask()
    assert preview.jobs(runs_dir) == [] and not preview.state(runs_dir).is_on
    folder.path.unlink()


def test_the_oldest_go(behave: Callable, ask: Callable, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview, "KEPT", 2)
    behave("done")
    asked = []
    for _ in range(4):
        asked.append(ask())
        _until(runs_dir, asked[-1], "done")
    assert [job.id for job in preview.jobs(runs_dir)] == [asked[3].id, asked[2].id]


@pytest.mark.parametrize("wrong", ["", ".", "..", "../x", "20260101-000000-000-zzzz"])
def test_only_ids_are_looked_up(runs_dir: Path, wrong: str) -> None:
    assert preview.find(runs_dir, wrong) is None
    assert previews.look(runs_dir / wrong) is None


def test_a_quiet_look_reads_nothing(
    behave: Callable, ask: Callable, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave("done")
    done = _until(runs_dir, ask(), "done")
    preview.give_back(runs_dir)
    listed = PreviewList(runs_dir)
    assert listed.jobs() == [done]
    past = time.time() - 60
    os.utime(PreviewFolder.of(runs_dir).results, (past, past))
    assert listed.jobs() == [done]

    def forbidden(*_: object) -> None:
        raise AssertionError("nothing changed, so nothing is read")

    monkeypatch.setattr(previews, "look", forbidden)
    monkeypatch.setattr(previews, "names", forbidden)
    assert listed.jobs() == [done]


def test_the_preset_has_all_it_needs(runs_dir: Path) -> None:
    run = preview.preset_folder(runs_dir, "pocket")
    config = files.load(run.config)
    assert config.reward.reward_model_path and config.model.model_paths == str(run.model_paths)
    with pytest.raises(ConfigError):
        preview.preset_folder(runs_dir, "none")
    assert list_runs(runs_dir) == []
