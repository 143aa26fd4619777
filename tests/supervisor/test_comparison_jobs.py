"""Films, reports and missing videos: made once, by a child process that can be cancelled, and told by their folder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_runs import eventually

from rewardfl_app.data import video
from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.samples import list_samples, sample_folder, write_faces
from rewardfl_app.supervisor import comparison_jobs, process
from rewardfl_app.supervisor.comparison_jobs import ComparisonJob, ComparisonJobError

FAKE_RENDERER = Path(__file__).parent / "fake_renderer.py"
NAMES = ("ada", "bo")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with two videos of the base model and after 10 steps."""
    made = RunFolder.create(tmp_path / "runs", "filmed")
    for step in (0, 10):
        for name in NAMES:
            add_video(made, step, name)
    return made


def add_video(run: RunFolder, step: int, name: str, seed: int = 7) -> None:
    folder = sample_folder(run, step, name)
    video.write(folder / "video.mp4", np.full((5, 32, 48, 3), 40 + 10 * step, dtype=np.uint8), 8)
    faces = {"fps": 8, "num_frames": 5, "prompt": name, "seed": seed, "reward": 0.5 + 0.01 * step, "frames": []}
    write_faces(folder, faces)


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts the stand-in in the renderer's place."""

    def choose(behaviour: str) -> None:
        command = shlex.join([sys.executable, str(FAKE_RENDERER), behaviour])
        monkeypatch.setenv(comparison_jobs.RENDERER_VARIABLE, command)

    return choose


def until_finished(job: ComparisonJob) -> ComparisonJob:
    eventually(lambda: (comparison_jobs.look(job.folder) or job).is_finished, seconds=90)
    found = comparison_jobs.look(job.folder)
    assert found is not None
    return found


def codec(path: Path) -> list[str]:
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,pix_fmt,nb_frames", "-of", "csv=p=0", path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split(",")


def test_film_and_report_of_all_pairs_are_made_once(run: RunFolder) -> None:
    job = comparison_jobs.start_film(run, 0, run, 10)
    again = comparison_jobs.start_film(run, 0, run, 10)
    assert again.folder == job.folder
    done = until_finished(job)
    assert done.state == "done", done.message
    assert [path.name for path in done.files] == ["side_by_side.mp4", "report.html"]
    assert done.folder.parent == run.comparisons and (done.done, done.total) == (4, 4)
    if shutil.which("ffprobe"):
        assert codec(done.files[0]) == ["h264", "yuv420p", "10"]
    assert json.loads((done.folder / "report.json").read_text())["num_samples"] == 2
    record = (done.folder / "process.json").read_text()
    assert comparison_jobs.start_film(run, 0, run, 10).is_finished
    assert (done.folder / "process.json").read_text() == record
    assert comparison_jobs.find(run, done.id) == done

    add_video(run, 10, "ada")  # newer than the film
    later = time.time() + 5
    os.utime(run.samples / "step_000010" / "ada", (later, later))
    remade = comparison_jobs.start_film(run, 0, run, 10)
    assert (remade.folder / "process.json").read_text() != record
    comparison_jobs.cancel(remade)


def test_one_pair_is_a_film_of_its_own(run: RunFolder) -> None:
    done = until_finished(comparison_jobs.start_film(run, 0, run, 10, "bo"))
    assert [path.name for path in done.files] == ["side_by_side.mp4"] and done.state == "done"


def test_why_it_could_not_be_made_is_said(run: RunFolder) -> None:
    add_video(run, 10, "bo", seed=8)
    done = until_finished(comparison_jobs.start_film(run, 0, run, 10, "bo"))
    assert done.state == "failed" and "no pair 'bo'" in done.message and done.files == ()


def test_a_job_that_was_cancelled_can_be_started_again(run: RunFolder) -> None:
    job = comparison_jobs.start_film(run, 0, run, 10)
    comparison_jobs.cancel(job)
    ended = comparison_jobs.look(job.folder)
    assert ended is not None and ended.state == "cancelled" and not ended.files
    assert until_finished(comparison_jobs.start_film(run, 0, run, 10)).state == "done"


@pytest.mark.parametrize("name", ["..", "../x", "", "a/b", "missing"])
def test_a_job_is_found_by_its_id_alone(run: RunFolder, name: str) -> None:
    assert comparison_jobs.find(run, name) is None


def checkpoint(run: RunFolder, step: int) -> None:
    path = begin(run, step)
    (path / "adapter.safetensors").write_bytes(b"0")
    commit(run, step, path)


def test_the_videos_of_a_checkpoint_are_rendered_with_progress(run: RunFolder, behave: Callable[[str], None]) -> None:
    checkpoint(run, 15)
    behave("wait")
    job = comparison_jobs.start_videos(run, 15)
    eventually(lambda: (comparison_jobs.look(job.folder) or job).done == 1)
    now = comparison_jobs.look(job.folder)
    assert now is not None and (now.state, now.total, now.message) == ("working", 2, "Rendering")
    (run.path / "go").touch()
    assert until_finished(job).state == "done"
    assert [sample.name for sample in list_samples(run)[15]] == list(NAMES)


def test_a_renderer_that_fails_says_so(run: RunFolder, behave: Callable[[str], None]) -> None:
    behave("crash")
    done = until_finished(comparison_jobs.start_videos(run, 15))
    assert done.state == "failed" and "MemoryError: not enough" in done.message


def test_videos_wait_while_a_run_is_trained(run: RunFolder, behave: Callable[[str], None]) -> None:
    behave("done")
    write_json_atomic(run.process, process.describe(os.getpid(), ["test"], role="wrapper", started=time.time() - 1))
    with pytest.raises(ComparisonJobError, match="Training goes on"):
        comparison_jobs.start_videos(run, 15)
