"""Comparing samples of run folders: pairing, statistics, verdict, and the three files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rewardfl_app.data import video
from rewardfl_app.data.video import VideoError
from rewardfl_app.inference import compare, pairs
from rewardfl_app.inference.pairs import CompareError
from rewardfl_app.runs.change import Change
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.samples import sample_folder, write_faces

FRAMES, HEIGHT, WIDTH = 5, 32, 48


def add_sample(run: RunFolder, step: int, name: str, reward: float | None, **values: object) -> None:
    folder = sample_folder(run, step, name)
    shade = 40 if step == 0 else 200
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), shade, dtype=np.uint8)
    video.write(folder / "video.mp4", frames, 8)
    faces = {
        "fps": 8,
        "num_frames": FRAMES,
        "prompt": values.pop("prompt", f"a portrait of {name}"),
        "seed": values.pop("seed", 7),
        "reward": reward,
        "judge": None,
        "motion": None,
        "frames": [{"frame": i, "faces": [] if i == 2 else [{"similarity": 0.5 + 0.01 * i}]} for i in range(FRAMES)],
        **values,
    }
    write_faces(folder, faces)


def make_run(tmp_path: Path, name: str = "steady") -> RunFolder:
    return RunFolder.create(tmp_path / "runs", name)


def compared(run: RunFolder, out: Path) -> compare.Comparison:
    return compare.build(pairs.side(run, 0), pairs.side(run), out)


def test_the_files_hold_the_values_of_the_samples(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for index, name in enumerate(("ada", "bo", "cy")):
        add_sample(run, 0, name, 0.70 + 0.01 * index, judge=0.80, motion=3.0)
        add_sample(run, 20, name, 0.80 + 0.02 * index, judge=0.86 + 0.001 * index, motion=2.95)
    add_sample(run, 10, "ada", 0.1)

    made = compared(run, tmp_path / "out")

    report = json.loads(made.json.read_text())
    assert report["before"]["step"] == 0 and report["after"]["step"] == 20
    assert [row["name"] for row in report["samples"]] == ["ada", "bo", "cy"]
    assert report["samples"][1]["reward"] == pytest.approx({"before": 0.71, "after": 0.82, "delta": 0.11})
    reward = report["mean"]["reward"]
    assert reward["delta"] == pytest.approx(0.11)
    assert reward["low"] < 0.11 < reward["high"]
    assert report["mean"]["sharpness"] is None
    assert report["verdict"]["tone"] == "good"
    assert "98%" in report["verdict"]["sentence"]
    assert report["num_samples"] == 3


def test_what_else_changed_is_told_where_it_was_measured(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for index, name in enumerate(("ada", "bo")):
        add_sample(run, 0, name, 0.7, face_size=40.0 + index, first_frame_distance=3.0)
        add_sample(run, 20, name, 0.8, face_size=50.0 + index, first_frame_distance=1.0)
    made = compared(run, tmp_path / "out")
    assert made.report["mean"]["face_size"]["delta"] == pytest.approx(10.0)
    page = made.page.read_text()
    assert "Size of the face" in page and "40.5 px" in page and "50.5 px" in page
    assert "Distance to the first frame" in page and "Nodding" not in page


def test_before_is_left_and_after_is_right(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_sample(run, 0, "ada", 0.7)
    add_sample(run, 20, "ada", 0.8)
    made = compared(run, tmp_path / "out")

    info = video.probe(made.video)
    assert info.num_frames == FRAMES and info.height % 2 == 0 and info.width % 2 == 0
    film = video.read(made.video)
    middle = film[2, info.height // 2]
    assert abs(int(middle[info.width // 4].mean()) - 40) < 12
    assert abs(int(middle[3 * info.width // 4].mean()) - 200) < 12


def test_the_page_is_one_offline_file_and_escapes_every_text(tmp_path: Path) -> None:
    run = make_run(tmp_path, "<script>alert(1)</script>")
    attack = '"><img src=x onerror=alert(2)>'
    add_sample(run, 0, "ada", 0.7, prompt=attack)
    add_sample(run, 20, "ada", 0.8, prompt=attack)
    page = compared(run, tmp_path / "out").page.read_text()

    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    assert "<img" not in page
    assert "http://" not in page and "https://" not in page and 'src="data:video/mp4;base64,' in page
    assert "not measured" in page


def test_only_samples_with_the_same_prompt_and_seed_are_paired(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_sample(run, 0, "ada", 0.7)
    add_sample(run, 20, "ada", 0.8)
    add_sample(run, 0, "bo", 0.7, seed=1)
    add_sample(run, 20, "bo", 0.8, seed=2)
    add_sample(run, 20, "new", 0.8)
    found = pairs.pairs(pairs.side(run, 0), pairs.side(run))
    assert [pair.name for pair in found] == ["ada"]

    other = make_run(tmp_path, "other")
    add_sample(other, 20, "ada", 0.9, prompt="someone else")
    with pytest.raises(CompareError, match="same prompt and seed"):
        pairs.pairs(pairs.side(run), pairs.side(other))


def test_two_runs_can_be_compared(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, "first"), make_run(tmp_path, "second")
    add_sample(first, 10, "ada", 0.7)
    add_sample(second, 20, "ada", 0.9)
    made = compare.build(pairs.side(first), pairs.side(second), tmp_path / "out")
    assert made.report["mean"]["reward"]["delta"] == pytest.approx(0.2)
    page = made.page.read_text()
    assert "first, after 10 steps" in page and "second, after 20 steps" in page


def test_a_step_without_samples_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_sample(run, 0, "ada", 0.7)
    with pytest.raises(CompareError, match="no samples after training"):
        pairs.side(run)
    with pytest.raises(CompareError, match="step 5.*steps: 0"):
        pairs.side(run, 5)


def test_an_unreadable_video_and_an_unwritable_folder_are_one_sentence(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_sample(run, 0, "ada", 0.7)
    add_sample(run, 20, "ada", 0.8)
    (tmp_path / "file").write_text("")
    with pytest.raises(CompareError, match="cannot be written"):
        compared(run, tmp_path / "file" / "out")
    (run.samples / "baseline" / "ada" / "video.mp4").write_bytes(b"not a video")
    with pytest.raises(VideoError, match="video.mp4"):
        compared(run, tmp_path / "out")


def _change(before: float, after: float, spread: float = 0.001) -> Change:
    delta = after - before
    return Change(before, after, delta, delta - spread, delta + spread, 8)


@pytest.mark.parametrize(
    ("changes", "tone", "words"),
    [
        ({"reward": _change(0.7, 0.8), "judge": _change(0.8, 0.85), "motion": _change(3.0, 2.9)}, "good", "agrees"),
        (
            {"reward": _change(0.7, 0.9), "judge": _change(0.8, 0.9), "motion": _change(3.0, 0.9)},
            "warning",
            "30% of the motion",
        ),
        ({"reward": _change(0.7, 0.8), "judge": _change(0.8, 0.8), "motion": None}, "warning", "does not confirm"),
        ({"reward": _change(0.7, 0.8), "judge": None, "motion": None}, "neutral", "no held-out judge"),
        ({"reward": _change(0.7, 0.701, 0.1), "judge": None, "motion": None}, "neutral", "may be chance"),
        ({"reward": _change(0.7, 0.6), "judge": None, "motion": None}, "warning", "fell"),
        ({"reward": None}, "neutral", "No face"),
    ],
)
def test_the_verdict_does_not_take_a_rising_reward_for_success(
    changes: dict[str, Change | None], tone: str, words: str
) -> None:
    found = compare.verdict(changes)
    assert found["tone"] == tone
    assert words in found["sentence"]


def test_comparing_needs_no_torch() -> None:
    code = "import sys, rewardfl_app.inference.compare; assert not {'torch', 'diffusers', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
