"""What a trainer leaves in its folder for those who watch: status, samples, checkpoints; and what they ask of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardfl_app.runs import best, checkpoints, control, samples
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.status import Status, read_status, write_status


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "test")


def test_status_is_read_as_it_was_written(run: RunFolder) -> None:
    assert read_status(run) is None
    status = Status("training", "rollout", 3, 60, "Step 3 of 60.", seconds_left=41.5)
    write_status(run, status)
    assert read_status(run) == status
    assert not status.is_final
    assert Status("failed").is_final


def test_a_status_of_another_kind_is_none_and_unknown_keys_are_passed_over(run: RunFolder) -> None:
    write_json_atomic(run.status, {"state": "dreaming"})
    assert read_status(run) is None
    write_json_atomic(run.status, {"state": "saving", "from_a_later_version": 1})
    assert read_status(run) == Status("saving", heartbeat=0.0)


def write_sample(folder: Path) -> None:
    (folder / "video.mp4").touch()
    samples.write_faces(folder, {"reward": 0.5})


def test_samples_are_listed_by_step_once_they_are_complete(run: RunFolder) -> None:
    assert samples.list_samples(run) == {}
    for step in (10, 0, 110):
        for name in ("b", "a"):
            write_sample(samples.sample_folder(run, step, name))
    write_sample(samples.reference_folder(run, "a"))
    (samples.sample_folder(run, 20, "a") / "video.mp4").touch()  # no faces.json yet
    listed = samples.list_samples(run)
    assert list(listed) == [0, 10, 110]
    assert [sample.name for sample in listed[10]] == ["a", "b"]
    assert listed[0][0].video == run.samples / "baseline" / "a" / "video.mp4"
    assert listed[110][0].video.parent.parent.name == "step_000110"
    assert listed[10][0].load_faces() == {"reward": 0.5}
    assert list(samples.list_references(run)) == ["a"]


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b"])
def test_sample_names_stay_in_their_folder(name: str, run: RunFolder) -> None:
    with pytest.raises(ValueError, match="sample name"):
        samples.sample_folder(run, 1, name)


def save(run: RunFolder, step: int, content: str = "weights") -> Path:
    written = checkpoints.begin(run, step)
    (written / "engine").mkdir()
    (written / "engine" / "state.bin").write_text(content)
    return checkpoints.commit(run, step, written)


def test_the_best_checkpoint_is_the_one_that_best_json_names(run: RunFolder) -> None:
    save(run, 25)
    save(run, 50)
    with pytest.raises(checkpoints.CheckpointError, match=r"no best checkpoint: .* at least 95% of the motion"):
        checkpoints.find(run, "best")
    best.write(run, best.Best(25, "The judge is up.", {}))
    assert checkpoints.find(run, "best").step == 25
    best.write(run, best.Best(30, "The judge is up.", {}))
    with pytest.raises(checkpoints.CheckpointError, match="complete checkpoint 30; complete are: 25, 50"):
        checkpoints.find(run, "best")


def test_only_committed_checkpoints_exist(run: RunFolder) -> None:
    assert checkpoints.latest(run) is None
    save(run, 25)
    save(run, 100)
    written = checkpoints.begin(run, 125)
    (written / "half").write_text("x")
    assert [checkpoint.step for checkpoint in checkpoints.list_checkpoints(run)] == [25, 100]
    assert checkpoints.find(run, "latest").step == 100
    assert checkpoints.find(run, 25).path == run.checkpoints / "step_000025"
    with pytest.raises(checkpoints.CheckpointError, match="complete are: 25, 100"):
        checkpoints.find(run, 125)


def test_a_save_that_died_is_begun_anew(run: RunFolder) -> None:
    (checkpoints.begin(run, 25) / "old").write_text("x")
    assert list(checkpoints.begin(run, 25).iterdir()) == []
    assert checkpoints.temporary(run, 25).is_dir()


def test_saving_a_step_again_replaces_it(run: RunFolder) -> None:
    save(run, 25, "first")
    path = save(run, 25, "second")
    assert (path / "engine" / "state.bin").read_text() == "second"
    assert [child.name for child in run.checkpoints.iterdir()] == ["step_000025"]


@pytest.mark.parametrize("damage", ["cut", "gone", "unsealed", "seal"])
def test_damaged_checkpoints_are_passed_over(damage: str, run: RunFolder) -> None:
    save(run, 25)
    path = save(run, 50)
    state, seal = path / "engine" / "state.bin", path / checkpoints.MARKER
    if damage == "cut":
        state.write_text("wei")
    elif damage == "gone":
        state.unlink()
    elif damage == "unsealed":
        seal.unlink()
    else:
        seal.write_text("")
    latest = checkpoints.latest(run)
    assert latest is not None
    assert latest.step == 25


def test_requests_are_pending_until_acknowledged(run: RunFolder) -> None:
    first = control.request(run, "save_now")
    second = control.request(run, "stop_and_save", why="tired")
    assert [(asked.id, asked.kind) for asked in control.pending(run)] == [
        (first, "save_now"),
        (second, "stop_and_save"),
    ]
    assert control.pending(run)[1].payload == {"why": "tired"}
    control.acknowledge(run, first, "Saved after step 7.", step=7)
    assert [asked.id for asked in control.pending(run)] == [second]
    (receipt,) = control.receipts(run)
    assert (receipt["id"], receipt["message"], receipt["step"]) == (first, "Saved after step 7.", 7)


def test_requests_of_a_former_process_are_dismissed(run: RunFolder) -> None:
    control.request(run, "stop_now")
    assert [asked.kind for asked in control.dismiss(run, "The run was resumed.")] == ["stop_now"]
    assert control.pending(run) == []
    assert control.receipts(run)[0]["dismissed"] is True


def test_unknown_requests_are_refused_and_strange_files_passed_over(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="unknown request"):
        control.request(run, "explode")  # type: ignore[arg-type]
    (run.control / "x.json").write_text("{")
    (run.control / "y.json").write_text('{"kind": "explode"}')
    assert control.pending(run) == []


def test_after_thousands_of_requests_only_what_is_new_is_read(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{number:020d}-abcdef" for number in range(3000)]
    for request in ids:
        (run.control / f"{request}.json").write_text('{"kind": "save_now", "payload": {}}')
    run.control_ack.write_text("".join(f'{{"id": "{request}", "message": "Saved."}}\n' for request in ids))
    assert control.pending(run) == []
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: (read.append(size), pread(file, size, at))[1])
    asked = control.request(run, "stop_and_save")
    assert [request.id for request in control.pending(run)] == [asked]
    assert sum(read) <= 1, "the receipts are not read again"
    control.acknowledge(run, asked, "Stopped.")
    assert control.pending(run) == [] and sum(read) < 500
    run.control_ack.unlink()
    assert len(control.pending(run)) == 3001, "a run whose receipts are gone"
