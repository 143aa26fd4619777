from __future__ import annotations

import base64
import io
from pathlib import Path

import av
import fake_runs
import numpy as np
import pytest
from PIL import Image
from written_runs import Start, WrittenRun

from rewardfl_app.data import video
from rewardfl_app.notebook import clips, gallery, player
from rewardfl_app.runs.status import Status, write_status


def test_before_and_after_are_one_film_in_step(written: WrittenRun) -> None:
    written.samples(0, reward=0.6)
    written.samples(50, reward=0.75)
    board = player(written.run)
    assert [title for title, _ in board.sample.options] == [
        "1.  0.60 → 0.75  <b>one</b>",
        "2.  0.60 → 0.75  <b>two</b>",
    ]
    address = board.view.value.partition('src="data:video/mp4;base64,')[2].partition('"')[0]
    with av.open(io.BytesIO(base64.b64decode(address))) as opened:
        frames = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    assert len(frames) == 5 and frames[0].shape == (clips.PANE, 2 * clips.PANE + 8, 3)
    left, right = frames[2][:, : clips.PANE].mean(), frames[2][:, -clips.PANE :].mean()
    assert abs(left - 0) < 4 and abs(right - 50) < 4
    for told in ("after 50 steps", "0.600", "0.750", "(+0.150)"):
        assert told in board.view.value
    assert "<b>one" not in board.view.value


def test_it_follows_the_newest_step_until_one_is_chosen(written: WrittenRun) -> None:
    written.samples(0)
    board = player(written.run)
    assert "first evaluation" in board.view.value and board.sample.layout.display == "none"
    written.samples(10)
    board.ticker.look()
    assert board.step.value == 10 and board.sample.layout.display == ""
    board.sample.value = "two"
    written.samples(20)
    board.ticker.look()
    assert board.step.value == 20 and board.sample.value == "two"
    board.step.value = 10
    assert "after 10 steps" in board.view.value
    written.samples(30)
    board.ticker.look()
    assert board.step.value == 10 and [step for _, step in board.step.options] == [10, 20, 30]
    assert player(written.run, step=20).step.value == 20


def test_the_gallery_shows_the_newest_and_rests_with_the_run(start: Start) -> None:
    run = start("slow")
    board = gallery(run)
    assert "untrained model" in board.view.value
    samples = WrittenRun(run)
    samples.samples(0, reward=0.6)
    fake_runs.eventually(lambda: board.view.value.count("<video") == 2)
    samples.samples(25, reward=0.72)
    fake_runs.eventually(lambda: "after 25 steps" in board.view.value)
    assert "similarity 0.720 (+0.120)" in board.view.value and "<b>one" not in board.view.value
    run.stop()
    run.wait()
    fake_runs.eventually(lambda: not board.ticker.is_running)


def test_a_video_that_cannot_be_read_is_said(written: WrittenRun) -> None:
    written.samples(0)
    written.samples(5)
    (written.run.folder.samples / "step_000005" / "one" / "video.mp4").write_bytes(b"no video")
    board, pictures = player(written.run), gallery(written.run)
    assert "video.mp4" in board.view.value and "<video" not in board.view.value
    assert pictures.view.value.count("<video") == 1
    assert "image/png" not in board._repr_mimebundle_()


def test_a_face_that_is_not_found_is_no_number(written: WrittenRun) -> None:
    written.samples(0)
    written.samples(5, reward=None)
    assert "0.70 → no face" in player(written.run).sample.options[0][0]
    assert "no face to score" in gallery(written.run).view.value


def test_stills_go_with_both(written: WrittenRun) -> None:
    for step in (0, 40):
        written.samples(step)
    for board in (player(written.run), gallery(written.run)):
        bundle = board._repr_mimebundle_()
        picture = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
        assert picture.width > 400 and picture.height > 100
        assert bundle["text/plain"].endswith(f"({written.run.id!r})")


def test_a_large_video_is_made_small_for_the_notebook(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (9, 480, 832, 3), dtype=np.uint8)
    video.write(tmp_path / "large.mp4", noise, 16)
    content = clips.film([tmp_path / "large.mp4"])
    assert len(content) < (tmp_path / "large.mp4").stat().st_size / 3
    assert clips.film([tmp_path / "large.mp4"]) is content  # and only once


def test_the_kept_films_are_those_of_the_files_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    for shade in (0, 200):
        video.write(path, np.full((5, 32, 32, 3), shade, dtype=np.uint8), 8)
        with av.open(io.BytesIO(clips.film([path]))) as opened:
            frame = next(opened.decode(video=0)).to_ndarray(format="rgb24")
        assert abs(frame.mean() - shade) < 4


def test_a_finished_run_is_read_once(written: WrittenRun) -> None:
    write_status(written.run.folder, Status("completed", step=1, total=1))
    written.samples(0)
    written.samples(1)
    assert not player(written.run).ticker.is_running and not gallery(written.run).ticker.is_running


def test_several_runs_play_beside_each_other_at_a_step_that_all_have(written: WrittenRun, runs_dir: Path) -> None:
    other = WrittenRun.create(runs_dir, "<b>other</b>")
    for run, steps in ((written, (0, 10, 20)), (other, (0, 10))):
        for step in steps:
            run.samples(step)
    board = player(written.run, other.run)
    assert [step for _, step in board.step.options] == [10]
    assert "written" in board.view.value and "&lt;b&gt;other" in board.view.value and "<b>other" not in board.view.value
    assert board.sample.options[0][0].startswith("1.  0.70 → 0.70 → 0.70")
    with pytest.raises(ValueError, match="at least one"):
        player()
