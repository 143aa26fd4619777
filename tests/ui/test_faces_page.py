"""What the Faces page is sent: clips of a step, jobs, sentences; and what it accepts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_runs import eventually
from page_run import FakeRun

from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import face_jobs
from rewardfl_app.supervisor.face_jobs import JobList
from rewardfl_app.ui import face_scoring, faces_page, uploads
from rewardfl_app.ui.face_summary import curves, summary
from rewardfl_app.ui.faces_page import REAL, clips, job_clip, page_payload
from rewardfl_app.ui.run_view import RunView
from rewardfl_app.ui.uploads import VIDEO_SUFFIXES, UploadError, accept

FAKE_SCORER = Path(__file__).parents[1] / "supervisor" / "fake_scorer.py"


def _report(*people: Sequence[float | None]) -> dict[str, Any]:
    """A faces.json with one face per person and frame, none where a person's value is None."""
    frames = [
        {
            "frame": index,
            "faces": [
                {"track": who, "identity": who, "similarity": value}
                for who, value in enumerate(values)
                if value is not None
            ],
        }
        for index, values in enumerate(zip(*people, strict=True))
    ]
    return {"frames": frames}


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """A run with samples of the untrained model and of two steps."""
    run = FakeRun(tmp_path / "runs", prompts=("one", "two"))
    run.baseline()
    run.evaluate(10)
    run.evaluate(20)
    return run


@pytest.fixture
def sent(tmp_path: Path) -> dict[str, str]:
    """A small upload as the page names it."""
    folder = tmp_path / "uploads" / "hash"
    folder.mkdir(parents=True)
    FakeRun(tmp_path / "other", prompts=("one",)).baseline()
    (source,) = (tmp_path / "other").glob("*/samples/baseline/row_000/video.mp4")
    (folder / "clip.mp4").write_bytes(source.read_bytes())
    return {"path": str(folder / "clip.mp4"), "name": "my clip.mp4"}


def _score(request: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return face_scoring.start(request, tmp_path / "runs", tmp_path / "uploads")


def test_the_clips_of_a_step_come_with_their_files_and_a_sentence(run: FakeRun, tmp_path: Path) -> None:
    found = clips(tmp_path / "runs", run.folder.id, None)
    assert found["step"] == 20 and [clip["prompt"] for clip in found["clips"]] == ["one", "two"]
    clip = found["clips"][0]
    assert clip["video"].endswith("step_000020/row_000/video.mp4") and clip["crops"].endswith("row_000/crops.jpg")
    assert clip["reference"]["faces"].endswith("reference/row_000/faces.json")
    assert clip["heat"] is None and "a face in every frame" in clip["sentence"]
    assert clips(tmp_path / "runs", run.folder.id, 0)["clips"][0]["video"].endswith("baseline/row_000/video.mp4")
    assert clips(tmp_path / "runs", run.folder.id, 15)["step"] == 20
    real = clips(tmp_path / "runs", run.folder.id, REAL)["clips"][0]
    assert real["step"] is None and real["reference"] is None


@pytest.mark.parametrize("run_id", ["missing", "../..", "/etc", ".faces"])
def test_only_runs_of_this_folder_are_looked_at(run_id: str, run: FakeRun, tmp_path: Path) -> None:
    assert clips(tmp_path / "runs", run_id, None)["clips"] == []
    assert job_clip(tmp_path / "runs", run_id) is None


def test_the_page_is_told_what_there_is(run: FakeRun, tmp_path: Path) -> None:
    view = RunView(run.folder)
    view.look()
    told = page_payload(view, [])
    assert told["steps"] == [0, 10, 20] and told["has_real"] and told["jobs"] == []
    run.evaluate(30)
    view.look()
    assert page_payload(view, [])["version"] > told["version"]
    assert page_payload(None, [])["run"] is None


def test_a_heat_map_counts_only_when_it_is_whole(run: FakeRun, tmp_path: Path) -> None:
    sample = run.folder.samples / "step_000020" / "row_000"
    (sample / "heat.mp4").write_bytes(b"being written")
    assert clips(tmp_path / "runs", run.folder.id, 20)["clips"][0]["heat"] is None
    (sample / "heat.json").write_text("{}")
    assert clips(tmp_path / "runs", run.folder.id, 20)["clips"][0]["heat"].endswith("heat.mp4")


def test_a_video_of_ones_own_becomes_a_clip(
    sent: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(face_jobs.SCORER_VARIABLE, shlex.join([sys.executable, str(FAKE_SCORER), "done"]))
    answer = _score({"video": sent, "pack": "pocket", "det_size": " 128 "}, tmp_path)
    jobs = JobList(tmp_path / "runs")
    eventually(lambda: jobs.jobs()[0].state == "done")
    (row,) = page_payload(None, jobs.jobs())["jobs"]
    assert row["id"] == answer["job"] and row["title"] == "my clip.mp4"
    assert (row["pack"], row["det_size"], row["reference"]) == ("pocket", 128, None)
    clip = job_clip(tmp_path / "runs", answer["job"])
    assert clip is not None and clip["video"].endswith("video.mp4") and clip["reference"] is None
    assert clip["sentence"].startswith("Similarity falls from 0.85 to 0.70")
    assert not Path(sent["path"]).exists()  # nothing stays in the server's upload folder
    request = read_json(Path(clip["folder"]) / "request.json") or {}
    assert request["reward"]["judge_model_path"].endswith("judge.onnx")


def test_a_failed_job_is_tried_again_in_its_place(
    sent: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    monkeypatch.setenv(face_jobs.SCORER_VARIABLE, shlex.join([sys.executable, str(FAKE_SCORER), "crash"]))
    first = _score({"video": sent, "pack": "pocket", "det_size": 64}, tmp_path)["job"]
    eventually(lambda: face_jobs.list_jobs(runs)[0].state == "failed")
    monkeypatch.setenv(face_jobs.SCORER_VARIABLE, shlex.join([sys.executable, str(FAKE_SCORER), "done"]))
    second = face_scoring.start_again(runs, face_jobs.find(runs, first))["job"]
    eventually(lambda: face_jobs.list_jobs(runs)[0].state == "done")
    (job,) = face_jobs.list_jobs(runs)
    assert job.id == second != first and job.title == "my clip.mp4" and job.about["det_size"] == 64
    assert "choose it again" in face_scoring.start_again(runs, None)["error"]


def test_each_problem_of_the_form_is_beside_its_field(sent: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "runs").mkdir()
    cases = [
        ({"pack": "pocket"}, "video", "choose it again"),
        ({"video": sent, "pack": "folder", "folder": ""}, "folder", "Give the folder"),
        ({"video": sent, "pack": "folder", "folder": str(tmp_path / "none")}, "folder", "does not exist"),
        ({"video": sent, "pack": "folder", "folder": str(tmp_path / "empty")}, "folder", "no .onnx"),
        ({"video": sent, "pack": "run", "run": "gone"}, "pack", "does not exist any more"),
        ({"video": sent, "pack": "pocket", "det_size": "100"}, "det_size", "32"),
        ({"video": sent, "pack": "pocket", "det_size": "big"}, "det_size", "big"),
        ({"video": sent, "pack": "pocket", "reference": {**sent, "name": "x.txt"}}, "reference", "is not one of"),
        ({"example": 99, "pack": "pocket"}, "video", "does not exist"),
    ]
    content = Path(sent["path"]).read_bytes()
    for request, field, words in cases:
        Path(sent["path"]).parent.mkdir(exist_ok=True)  # what was sent goes once it was looked at
        Path(sent["path"]).write_bytes(content)
        if field not in ("video", "reference"):
            assert face_scoring.check(request, tmp_path / "runs")["problems"][0]["field"] == field
        (problem,) = _score(request, tmp_path)["problems"]
        assert problem["field"] == field and words in problem["message"], problem
    assert face_jobs.list_jobs(tmp_path / "runs") == []


def test_the_pack_of_a_run_is_that_of_its_settings(run: FakeRun, tmp_path: Path) -> None:
    values = face_scoring.run_reward(run.folder)
    assert values.det_size == 96
    with pytest.raises(face_scoring.PackProblem, match="names no face pack"):
        face_scoring.checked(values.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (None, "No file"),
        ({"path": "", "name": "a.mp4"}, "No file"),
        ({"path": "/etc/passwd", "name": "a.mp4"}, "not there any more"),
        ({"path": "FOLDER/../outside.mp4", "name": "a.mp4"}, "not there any more"),
        ({"path": "FOLDER/link.mp4", "name": "a.mp4"}, "not there any more"),
        ({"path": "FOLDER/missing.mp4", "name": "a.mp4"}, "not there any more"),
        ({"path": "FOLDER/a.mp4", "name": "a.exe"}, "is not one of"),
        ({"path": "FOLDER/a.exe", "name": "a.mp4"}, "not there any more"),
        ({"path": "FOLDER/a.mp4\0.exe", "name": "a.mp4"}, "No file"),
        ({"path": "FOLDER/empty.mp4", "name": "empty.mp4"}, "is empty"),
        ({"path": "FOLDER/large.mp4", "name": "large.mp4"}, "larger than"),
    ],
)
def test_what_is_no_upload_is_refused(
    sent: dict[str, str] | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setattr(uploads, "LARGEST_MB", 1)
    for name, content in (("a.mp4", b"x"), ("a.exe", b"x"), ("empty.mp4", b""), ("large.mp4", bytes(1_000_001))):
        (folder / name).write_bytes(content)
    (tmp_path / "outside.mp4").write_bytes(b"x")
    (folder / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    value = sent and {**sent, "path": sent["path"].replace("FOLDER", str(folder))}
    with pytest.raises(UploadError, match=words):
        accept(value, VIDEO_SUFFIXES, folder)


def test_the_shown_name_is_short_and_harmless() -> None:
    assert uploads.shown_name("C:\\videos\\me.mp4") == "me.mp4"
    assert uploads.shown_name("../../etc/me\n\x1b[31m.mp4") == "me[31m.mp4"
    assert uploads.shown_name("<b>.mp4") == "<b>.mp4"  # shown as text
    assert uploads.shown_name("") == "file" == uploads.shown_name(None)
    long = uploads.shown_name("x" * 500 + ".mp4")
    assert len(long) == uploads.NAME_LIMIT and long.endswith(".mp4")


@pytest.mark.parametrize(
    ("report", "sentence", "level"),
    [
        ({}, "This video has not been scored.", "flat"),
        (_report([None] * 3), "No face was found in any of the 3 frames.", "warn"),
        (_report([None]), "No face was found in this frame.", "warn"),
        (
            _report([1.0, 0.98, 0.7, None, None, None, 0.5, 0.41]),
            "Similarity falls from 0.98 to 0.41 over the clip; 3 frames without a face; worst at frame 8 (0.41).",
            "warn",
        ),
        (
            _report([0.9, 0.61, 0.6, 0.62]),
            "Similarity holds at 0.61 over the clip; a face in every frame; worst at frame 3 (0.60).",
            "good",
        ),
        (
            _report([0.4, 0.4, 0.9], [0.8, 0.8, -0.2]),
            "Person 1 rises from 0.40 to 0.90 over the clip; person 2 falls from 0.80 to −0.20 over the clip; "
            "a face in every frame; worst at frame 3 (−0.20).",
            "flat",
        ),
        (_report([0.7]), "Similarity is 0.70.", "good"),
    ],
)
def test_the_sentence_says_what_the_curve_shows(report: dict[str, Any], sentence: str, level: str) -> None:
    said = summary(report)
    assert (said.sentence, said.level) == (sentence, level)


def test_strangers_alone_are_no_similarity() -> None:
    report = _report([0.5, 0.5])
    for frame in report["frames"]:
        frame["faces"][0].update(identity=None, similarity=None)
    assert "nobody of the reference" in summary(report).sentence


def test_who_is_unlike_the_person_is_told() -> None:
    report = _report([0.9, 0.8, -0.1])
    report["tracks"] = [
        {"track": 0, "identity": 0, "frames": 2},
        {"track": 1, "identity": 0, "frames": 1, "unlike": True},
    ]
    assert "someone unlike the person in their place in 1 frame;" in summary(report).sentence


def test_older_samples_have_the_identity_in_their_tracks() -> None:
    report = _report([0.9, 0.8])
    for frame in report["frames"]:
        del frame["faces"][0]["identity"]
    report["tracks"] = [{"track": 0, "identity": 3}]
    assert curves(report) == {3: {0: 0.9, 1: 0.8}}


def test_the_scripts_hold_what_is_accepted() -> None:
    assert f'"largest_mb": {uploads.LARGEST_MB}' in faces_page._script()
