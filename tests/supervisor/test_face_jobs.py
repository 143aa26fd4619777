"""Scoring jobs: what their folder says is what happened, also when the child is killed or the app was closed."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import eventually, write_clips

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import face_jobs, process
from rewardfl_app.supervisor.face_jobs import FaceJob, FaceJobError, JobList

FAKE_SCORER = Path(__file__).parent / "fake_scorer.py"
REWARD = RewardConfig(reward_model_path="/packs/antelopev2", det_size=320)


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts the stand-in in the child's place."""

    def choose(behaviour: str) -> None:
        command = shlex.join([sys.executable, str(FAKE_SCORER), behaviour])
        monkeypatch.setenv(face_jobs.SCORER_VARIABLE, command)

    return choose


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A small clip under a name that must not matter."""
    write_clips(tmp_path / "clips", ("odd; $(name) <b>.MP4",))
    return tmp_path / "clips" / "odd; $(name) <b>.MP4"


def _now(job: FaceJob) -> FaceJob:
    found = face_jobs.look(job.folder)
    assert found is not None
    return found


def _until(job: FaceJob, state: str) -> FaceJob:
    eventually(lambda: _now(job).state == state)
    return _now(job)


def test_a_job_tells_its_progress_and_its_files_stay(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("wait")
    job = face_jobs.score(tmp_path, video, REWARD, video.name, about={"pack": "antelopev2"})
    working = _until(job, "working")
    assert (working.done, working.total, working.message) == (2, 5, "Finding faces")
    assert not working.is_finished and working.title == video.name and working.about["pack"] == "antelopev2"
    assert JobList(tmp_path).jobs() == [working]
    (job.folder / "go").touch()
    done = _until(job, "done")
    assert done.is_finished and (job.folder / "faces.json").is_file() and (job.folder / "video.mp4").is_file()
    assert face_jobs.list_jobs(tmp_path) == [done] == JobList(tmp_path).jobs()


def test_the_child_is_asked_for_copies_under_fixed_names(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("done")
    picture = tmp_path / "..picture.PNG"
    picture.write_bytes(b"png")
    job = face_jobs.score(tmp_path, video, REWARD, video.name, picture)
    request = read_json(job.folder / "request.json") or {}
    assert request["video"] == str(job.folder / "input.mp4")
    assert request["reference"] == str(job.folder / "reference_input.png")
    assert request["reward"]["det_size"] == 320 and request["out"] == str(job.folder)
    assert Path(request["video"]).read_bytes() == video.read_bytes()
    _until(job, "done")


def test_the_folder_of_the_jobs_is_no_run(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("done")
    job = face_jobs.score(tmp_path, video, REWARD, video.name)
    _until(job, "done")
    assert list_runs(tmp_path) == []
    assert face_jobs.find(tmp_path, job.id) == _now(job)
    for wrong in ("", ".", "..", f"../{job.id}", f"{job.id}/", "20260101-000000-000-zzzz"):
        assert face_jobs.find(tmp_path, wrong) is None


def test_a_refused_file_is_told_by_its_own_name(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("refuse")
    failed = _until(face_jobs.score(tmp_path, video, REWARD, video.name), "failed")
    assert failed.message == f"{video.name} is no video: it holds text."


def test_a_crash_is_told_with_the_log(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("crash")
    failed = _until(face_jobs.score(tmp_path, video, REWARD, video.name), "failed")
    assert "RuntimeError: something broke" in failed.message and "log.txt" in failed.message


def test_a_killed_child_is_failed_and_not_forever_scoring(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("hang")
    job = face_jobs.score(tmp_path, video, REWARD, video.name)
    _until(job, "working")
    record = read_json(job.folder / "process.json") or {}
    process.send(process.members(record), signal.SIGKILL)
    failed = _until(job, "failed")
    assert "ended before it was done" in failed.message and str(job.folder / "log.txt") in failed.message
    assert JobList(tmp_path).jobs() == [failed]


def test_a_job_can_be_cancelled_and_removed(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("hang")
    job = face_jobs.score(tmp_path, video, REWARD, video.name)
    working = _until(job, "working")
    jobs = JobList(tmp_path)
    assert jobs.jobs()
    face_jobs.cancel(working)
    assert _now(job).state == "cancelled"
    assert not process.is_running(read_json(job.folder / "process.json") or {})
    face_jobs.delete(_now(job))
    assert not job.folder.exists() and jobs.jobs() == []


def test_only_so_many_run_at_once(
    behave: Callable, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave("hang")
    monkeypatch.setattr(face_jobs, "MOST_RUNNING", 1)
    job = face_jobs.score(tmp_path, video, REWARD, video.name)
    with pytest.raises(FaceJobError, match="wait for one of them"):
        face_jobs.score(tmp_path, video, REWARD, video.name)
    assert len(face_jobs.list_jobs(tmp_path)) == 1
    face_jobs.cancel(_now(job))


def test_the_newest_twenty_are_kept_and_none_that_runs_is_removed(
    behave: Callable, video: Path, tmp_path: Path
) -> None:
    behave("hang")
    running = face_jobs.score(tmp_path, video, REWARD, "running")
    names = [f"20990101-0000{number:02d}-000-0000" for number in range(24)]
    for name in names:  # all newer than the running one
        folder = tmp_path / face_jobs.FOLDER / name
        folder.mkdir()
        write_json_atomic(folder / "job.json", {"kind": "score", "title": name, "created": 1.0})
        write_json_atomic(folder / "process.json", process.describe(1, []))
        write_json_atomic(folder / "status.json", {"state": "done"})
    unfinished = tmp_path / face_jobs.FOLDER / "20260101-000000-000-0000"
    unfinished.mkdir()  # an app that was killed while it copied
    behave("done")
    job = face_jobs.score(tmp_path, video, REWARD, "new")
    left = {found.id for found in face_jobs.list_jobs(tmp_path)}
    assert left == {job.id, running.id, *names[-(face_jobs.KEPT - 1) :]}
    assert not unfinished.exists()
    face_jobs.cancel(_now(running))


def test_a_heat_map_goes_to_the_sample_and_is_computed_once(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("wait")
    sample = tmp_path / "run" / "samples" / "baseline" / "row_000"
    sample.mkdir(parents=True)
    (sample / "video.mp4").write_bytes(video.read_bytes())
    job = face_jobs.heat_map(tmp_path, sample, None, REWARD)
    assert job.kind == "heat" and job.target == sample.resolve()
    assert face_jobs.heat_map(tmp_path, sample, None, REWARD).id == job.id
    (job.folder / "go").touch()
    _until(job, "done")
    assert sorted(path.name for path in sample.iterdir()) == ["heat.json", "heat.mp4", "video.mp4"]


def test_a_folder_that_cannot_be_written_is_one_sentence(behave: Callable, video: Path, tmp_path: Path) -> None:
    behave("done")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / face_jobs.FOLDER).write_text("in the way")
    with pytest.raises(FaceJobError, match="cannot be put into"):
        face_jobs.score(tmp_path / "runs", video, REWARD, video.name)
    assert face_jobs.list_jobs(tmp_path / "runs") == []
