"""Exports: made once, by a child process that can be ended, and told by their folder."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import eventually

from rewardfl_app.config import files, presets
from rewardfl_app.inference.export_target import ExportError, Format
from rewardfl_app.runs import best
from rewardfl_app.runs.checkpoints import CheckpointError, begin, commit
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import export_jobs
from rewardfl_app.supervisor.export_jobs import ExportJob, ExportJobError

FAKE_EXPORTER = Path(__file__).parent / "fake_exporter.py"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with checkpoints at 10 and 20."""
    made = RunFolder.create(tmp_path / "runs", "trained")
    files.dump(presets.preset("pocket"), made.config)
    for step in (10, 20):
        save(made, step)
    return made


def save(run: RunFolder, step: int) -> None:
    path = begin(run, step)
    (path / "low_noise.safetensors").write_bytes(b"0")
    commit(run, step, path)


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts the stand-in in the exporter's place."""

    def choose(behaviour: str) -> None:
        command = shlex.join([sys.executable, str(FAKE_EXPORTER), behaviour])
        monkeypatch.setenv(export_jobs.EXPORTER_VARIABLE, command)

    return choose


def until_finished(job: ExportJob) -> ExportJob:
    eventually(lambda: (export_jobs.look(job.folder) or job).is_finished, seconds=60)
    found = export_jobs.look(job.folder)
    assert found is not None
    return found


def test_an_export_lies_in_the_run_and_is_made_once(run: RunFolder, behave: Callable[[str], None]) -> None:
    behave("done")
    done = until_finished(export_jobs.start(run, "latest", Format.DIFFUSERS))
    assert (done.state, done.step, done.target) == ("done", 20, run.exports / "step_000020_diffusers")
    assert [path.name for path in done.files] == ["README.md", "export.json", "transformer_2.safetensors"]
    assert done.files[2].read_bytes() == b"LoRA of step 20"
    asked = read_json(done.folder / "request.json") or {}
    assert asked["licences"] and not Path(asked["status"]).is_relative_to(done.target)

    record = (done.folder / "process.json").read_text()
    assert export_jobs.start(run, "20", Format.DIFFUSERS) == done
    assert (done.folder / "process.json").read_text() == record
    save(run, 20)
    later = time.time() + 5
    os.utime(run.checkpoints / "step_000020", (later, later))
    assert until_finished(export_jobs.start(run, "20", Format.DIFFUSERS)).state == "done"
    assert (done.folder / "process.json").read_text() != record


def test_the_best_checkpoint_in_every_format_newest_first(run: RunFolder, behave: Callable[[str], None]) -> None:
    behave("done")
    best.write(run, best.Best(10, "The judge is up.", {}))
    for kind in Format:
        assert until_finished(export_jobs.start(run, "best", kind)).step == 10
    assert [job.format for job in export_jobs.list_jobs(run)] == list(Format)[::-1]
    merged = export_jobs.find(run, "step_000010_merged")
    assert merged is not None
    export_jobs.remove(run, merged)
    assert [job.id for job in export_jobs.list_jobs(run)] == [
        "step_000010_merged_original", "step_000010_comfyui", "step_000010_diffusers"
    ]  # fmt: skip
    assert not merged.target.exists() and not merged.folder.exists()


def test_an_export_that_goes_on_tells_how_far_it_is_and_can_be_ended(
    run: RunFolder, behave: Callable[[str], None]
) -> None:
    behave("wait")
    jobs = [export_jobs.start(run, "20", kind) for kind in (Format.MERGED, Format.MERGED_ORIGINAL)]
    for job in jobs:
        eventually(lambda job=job: (export_jobs.look(job.folder) or job).done == 3)
    now = export_jobs.start(run, "20", Format.MERGED)
    assert (now.folder, now.state, now.total, now.files) == (jobs[0].folder, "working", 10, ())
    export_jobs.remove(run, now)
    assert export_jobs.find(run, now.id) is None
    half = [path.name for path in run.exports.iterdir() if path.name != export_jobs.JOBS]
    assert half == [".step_000020_merged_original-abcd"]  # what the other has written
    (run.path / "go").touch()
    assert until_finished(jobs[1]).state == "done"


@pytest.mark.parametrize(
    ("behaviour", "words"), [("refuse", "needs 28.60 GB, but 1.00 GB"), ("crash", "MemoryError: not enough")]
)
def test_why_it_could_not_be_made_is_said(
    run: RunFolder, behave: Callable[[str], None], behaviour: str, words: str
) -> None:
    behave(behaviour)
    failed = until_finished(export_jobs.start(run, "latest", Format.MERGED))
    assert failed.state == "failed" and words in failed.message and failed.files == ()
    behave("done")
    assert until_finished(export_jobs.start(run, "latest", Format.MERGED)).state == "done"


def test_an_export_that_was_moved_away_is_no_longer_there(run: RunFolder, behave: Callable[[str], None]) -> None:
    behave("done")
    done = until_finished(export_jobs.start(run, "latest", Format.COMFYUI))
    status = done.folder / "status.json"
    status.write_text(status.read_text().replace("working", "done"))
    shutil.move(done.target, run.path / "elsewhere")
    assert export_jobs.list_jobs(run) == []
    assert until_finished(export_jobs.start(run, "latest", Format.COMFYUI)).files


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    run: RunFolder, behave: Callable[[str], None]
) -> None:
    behave("done")
    with pytest.raises(CheckpointError, match="complete are: 10, 20"):
        export_jobs.start(run, "30", Format.DIFFUSERS)
    mine = run.exports / "step_000020_diffusers" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep")
    with pytest.raises(ExportError, match="has other things in it"):
        export_jobs.start(run, "20", Format.DIFFUSERS)
    assert mine.read_text() == "keep"
    run.config.write_text(run.config.read_text().replace("lora_base_model: dit2", "lora_base_model: none"))
    with pytest.raises(ExportError, match="there is no LoRA to write"):
        export_jobs.start(run, "20", Format.COMFYUI)


def test_a_disk_that_cannot_be_written_is_said(run: RunFolder, behave: Callable[[str], None]) -> None:
    behave("done")
    run.exports.write_text("a file is in the way")
    with pytest.raises(ExportJobError, match="cannot be written"):
        export_jobs.start(run, "20", Format.DIFFUSERS)


@pytest.mark.parametrize("name", ["..", "../x", "", "a/b", ".lock", "step_1", "step_000020_diffusers/.."])
def test_an_export_is_found_by_its_id_alone(run: RunFolder, name: str) -> None:
    assert export_jobs.find(run, name) is None
