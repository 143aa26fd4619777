"""Two models over the same videos: pairs, reasons why not, means, and what the page starts from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from page_run import FakeRun

from rewardfl_app.runs import video_values
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.samples import list_samples
from rewardfl_app.runs.video_values import VideoValues
from rewardfl_app.ui import comparison
from rewardfl_app.ui.compare_page import page_payload, start_job
from rewardfl_app.ui.media import served_file, thumbnail
from rewardfl_app.ui.run_view import RunView


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    made = FakeRun(tmp_path, prompts=("one", "two"))
    made.baseline()
    made.evaluate(10)
    made.evaluate(20)
    return made


def compared(run: FakeRun, a: int | None = None, b: int | None = None, other: FakeRun | None = None) -> dict[str, Any]:
    left = (other or run).folder.id
    return comparison.compare(run.folder.path.parent, {"run": left, "step": a}, {"run": run.folder.id, "step": b})


def change_faces(run: FakeRun, step: int, name: str, **values: object) -> None:
    sample = next(sample for sample in list_samples(run.folder)[step] if sample.name == name)
    write_json_atomic(sample.faces, {**(read_json(sample.faces) or {}), **values})


def test_the_base_model_against_the_newest_unless_told_otherwise(run: FakeRun) -> None:
    found = compared(run)
    assert (found["a"]["step"], found["b"]["step"]) == (0, 20)
    assert [sample["prompt"] for sample in found["samples"]] == ["one", "two"]
    sample = found["samples"][0]
    assert sample["a"]["video"].endswith("baseline/row_000/video.mp4")
    assert sample["b"]["video"].endswith("step_000020/row_000/video.mp4")
    assert sample["reference"] and sample["picture"].startswith("data:image/jpeg")
    assert sample["b"]["reward"] > sample["a"]["reward"]
    assert found["level"] == "good" and found["hacking"]["chart"]["series"]
    assert compared(run, 10, 20)["a"]["step"] == 10
    assert compared(run, 99, 99)["b"]["step"] == 20


def test_the_means_are_paired_changes_with_their_interval(run: FakeRun) -> None:
    change = compared(run)["mean"]["reward"]
    rows = compared(run)["samples"]
    deltas = [row["b"]["reward"] - row["a"]["reward"] for row in rows]
    assert change["delta"] == pytest.approx(sum(deltas) / 2) and change["num_pairs"] == 2
    assert change["low"] <= change["delta"] <= change["high"]


def test_values_are_the_unrounded_ones_where_they_were_kept(run: FakeRun) -> None:
    video_values.write(run.folder, 20, {"row_000": VideoValues({"reward": 0.8123456789, "judge": None})})
    first, second = compared(run)["samples"]
    assert first["b"]["reward"] == 0.8123456789 and first["b"]["judge"] is None
    assert second["b"]["reward"] == read_json(Path(second["b"]["faces"]))["reward"]


def test_runs_are_compared_by_the_same_prompt_seed_and_first_frame(run: FakeRun, tmp_path: Path) -> None:
    other = FakeRun(tmp_path, "another", prompts=("one", "two"))
    other.baseline()
    other.evaluate(30)
    found = compared(run, other=other)
    assert (found["a"]["step"], found["b"]["step"], found["num_pairs"]) == (30, 20, 2)
    assert found["sentence"] and found["a"]["name"] == "another"


@pytest.mark.parametrize(
    ("change", "why"),
    [({"prompt": "something else"}, "the prompts differ"), ({"seed": 5}, r"the seeds differ \(5 and 1235\)")],
)
def test_what_cannot_be_compared_is_said(run: FakeRun, change: dict[str, object], why: str) -> None:
    change_faces(run, 0, "row_001", **change)
    found = compared(run)
    assert [sample["name"] for sample in found["samples"]] == ["row_000"]
    (apart,) = found["apart"]
    assert apart["name"] == "row_001"
    assert re.fullmatch(why, apart["why"])


def test_other_first_frames_are_told_apart(run: FakeRun, tmp_path: Path) -> None:
    other = FakeRun(tmp_path, "turned", prompts=("two", "one"))
    other.baseline()
    for name, prompt in (("row_000", "one"), ("row_001", "two")):
        change_faces(other, 0, name, prompt=prompt)
    for name, picture in (("row_000", "row_001"), ("row_001", "row_000")):  # each shows the other's person
        video = run.folder.samples / "baseline" / picture / "video.mp4"
        (other.folder.samples / "baseline" / name / "video.mp4").write_bytes(video.read_bytes())
    found = compared(run, a=0, other=other)
    assert found["num_pairs"] == 0
    assert {entry["why"] for entry in found["apart"]} == {"the first frames differ"}


def test_a_video_of_one_side_alone_says_whose_it_is(run: FakeRun) -> None:
    sample = list_samples(run.folder)[0][1]
    sample.faces.unlink()
    assert compared(run)["apart"] == [{"name": "row_001", "why": "only Step 20 has it"}]


def test_a_checkpoint_without_videos_can_be_chosen_and_is_marked(run: FakeRun) -> None:
    run.checkpoint(15)
    found = compared(run, b=15)
    assert found["b"]["step"] == 15 and found["samples"] == []
    assert {entry["step"]: entry["has_videos"] for entry in found["b"]["steps"]} == {
        0: True,
        10: True,
        15: False,
        20: True,
    }


@pytest.mark.parametrize("run_id", ["missing", "../..", "/etc", "None", None, 5])
def test_only_runs_of_this_folder_are_compared(run_id: object, run: FakeRun) -> None:
    runs_dir = run.folder.path.parent
    found = comparison.compare(runs_dir, {"run": run_id}, {"run": run.folder.id})
    assert found == {"missing": str(run_id)}
    assert "error" in start_job(runs_dir, {"kind": "film", "a": {"run": run_id, "step": 0}, "b": {}})
    assert "error" in start_job(runs_dir, {"kind": "videos", "run": run_id, "step": 0})


def test_the_payload_grows_with_the_samples(run: FakeRun) -> None:
    view = RunView(run.folder)
    view.look()
    rows = [{"id": run.folder.id, "name": "first try", "state": "training"}]
    before = page_payload(view, rows)
    assert before["steps"] == [0, 10, 20] and before["runs"] == [{"id": run.folder.id, "name": "first try"}]
    run.evaluate(30)
    view.look()
    assert page_payload(view, rows)["version"] > before["version"]
    assert page_payload(None, [])["run"] is None


def test_only_files_for_the_browser_have_an_address(tmp_path: Path) -> None:
    sample = tmp_path / "runs" / "a" / "samples" / "baseline" / "one"
    sample.mkdir(parents=True)
    outside = tmp_path / "secret.mp4"
    for path in (outside, sample / "video.mp4", sample / "own.mp4"):
        path.write_bytes(b"x")
    (sample / "heat.mp4").symlink_to(outside)
    for path in (outside, sample / "heat.mp4", sample / "own.mp4", sample / "faces.json"):
        assert served_file(path, tmp_path / "runs") is None
    assert served_file(sample / "video.mp4", tmp_path / "runs") == str((sample / "video.mp4").resolve())


def test_an_unreadable_video_has_no_thumbnail(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    assert thumbnail(broken) is None
    assert thumbnail(tmp_path / "missing.mp4") is None
