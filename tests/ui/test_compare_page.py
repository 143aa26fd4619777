"""Pairs of videos, their means, and which files the page may load."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_run import FakeRun

from rewardfl_app.ui.compare_page import means, pairs
from rewardfl_app.ui.media import served_file, thumbnail


def test_pairs_bring_both_sides_their_scores_and_the_real_clip(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, prompts=("one", "two"))
    run.baseline()
    run.evaluate(10)
    run.evaluate(20)
    found = pairs(tmp_path, run.folder.id, None)
    assert found["step"] == 20 and [sample["prompt"] for sample in found["samples"]] == ["one", "two"]
    sample = found["samples"][0]
    assert sample["before"]["video"].endswith("baseline/row_000/video.mp4")
    assert sample["after"]["video"].endswith("step_000020/row_000/video.mp4")
    assert sample["reference"] and sample["picture"].startswith("data:image/jpeg")
    assert sample["after"]["reward"] > sample["before"]["reward"]
    assert found["level"] == "good"
    assert pairs(tmp_path, run.folder.id, 10)["step"] == 10


@pytest.mark.parametrize("run_id", ["missing", "../..", "/etc", "None"])
def test_only_runs_of_this_folder_are_compared(run_id: str, tmp_path: Path) -> None:
    assert pairs(tmp_path, run_id, None)["samples"] == []


def test_means_leave_out_what_was_not_measured_on_both_sides() -> None:
    side = {"reward": 0.5, "judge": None, "motion": 4.0, "sharpness": None, "face_rate": 1.0}
    other = {**side, "reward": 0.7, "judge": 0.9}
    assert means([{"before": side, "after": other}])["reward"] == {"before": 0.5, "after": 0.7}
    assert means([{"before": side, "after": other}])["judge"] == {"before": None, "after": None}


def test_files_outside_the_runs_folder_are_not_served(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    outside = tmp_path / "secret.mp4"
    outside.write_bytes(b"x")
    (runs / "link.mp4").symlink_to(outside)
    (runs / "own.mp4").write_bytes(b"x")
    assert served_file(outside, runs) is None
    assert served_file(runs / "link.mp4", runs) is None
    assert served_file(runs / "own.mp4", runs) == str((runs / "own.mp4").resolve())


def test_an_unreadable_video_has_no_thumbnail(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    assert thumbnail(broken) is None
    assert thumbnail(tmp_path / "missing.mp4") is None
