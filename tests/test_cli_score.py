"""`score` and `data-check` as a person types them: what is printed, what is written, one line for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rewardfl_app.cli import app, score_text
from rewardfl_app.cli.progress_line import ProgressLine
from rewardfl_app.data import video
from rewardfl_app.inference.__main__ import main as child_main
from rewardfl_app.pocket.clips import sample_clip
from rewardfl_app.supervisor import inference_child
from rewardfl_app.supervisor.command import package_environment

Frames = NDArray[np.uint8]
Told = tuple[int, str, str]
Cli = Callable[..., Told]


@pytest.fixture(scope="module")
def portrait() -> Frames:
    return sample_clip(np.random.default_rng((7, 0))).drawing.images


@pytest.fixture
def clip(tmp_path: Path, portrait: Frames) -> Path:
    video.write(tmp_path / "clip.mp4", portrait, 8)
    return tmp_path / "clip.mp4"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """A command in tmp_path whose child runs in this process: (exit code, standard output, standard error)."""

    def run_child(*arguments: str, while_running: Callable[[], None] | None = None) -> None:
        capfd.readouterr()
        code = child_main(list(arguments))
        errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
        if code:
            raise inference_child.InferenceError(" ".join(errors).removeprefix("error: "), code)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inference_child, "run", run_child)

    def run(*arguments: object) -> Told:
        capfd.readouterr()
        code = app.main([str(argument) for argument in arguments])
        return (code, *capfd.readouterr())

    return run


def test_score_tells_what_a_person_understands(cli: Cli, clip: Path) -> None:
    code, out, err = cli("score", "clip.mp4", "--reward-model-path", "pocket")
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert lines[0] == "clip.mp4: 17 frames of 64 x 64, 8 fps, compared with its own first frame (1 person)"
    names = [line.split("  ")[0].strip() for line in lines[1:]]
    assert names == ["reward", "judge", "track 0", "no face", "worst frames"], "pocket brings its own judge"
    assert "person 1, similarity 0." in out and "in its first tenth" in out and "17 frames" in out
    starts = {len(line) - len(line[14:].lstrip()) for line in lines[1:]}
    assert starts == {14}, "the values stand in one column"


def test_score_writes_its_films_and_numbers(cli: Cli, clip: Path, tmp_path: Path, portrait: Frames) -> None:
    Image.fromarray(portrait[0]).save(tmp_path / "who.png")
    arguments = ("--reference", "who.png", "--overlay", "new/o.mp4", "--heat-map", "h.mp4", "--json", "new/s.json")
    code, out, _ = cli("score", "clip.mp4", "--reward-model-path", "pocket", *arguments)
    assert code == 0 and "compared with who.png (1 person)" in out
    written = [tmp_path / name for name in ("new/s.json", "new/o.mp4", "h.mp4")]
    assert out.splitlines()[-3:] == [str(path) for path in written]
    faces = json.loads(written[0].read_text())
    assert faces["video"] == str(clip) and faces["reference"]["source"] == str(tmp_path / "who.png")
    assert video.probe(written[1]).num_frames == video.probe(written[2]).num_frames == 17
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "h.mp4", "new", "who.png"]


def test_score_prints_json_and_nothing_else(cli: Cli, clip: Path) -> None:
    code, out, _ = cli("score", "clip.mp4", "--reward-model-path", "pocket", "--json", "-", "--set", "reward.pool=max")
    faces = json.loads(out)
    assert code == 0
    assert {"video", "fps", "num_frames", "reward", "faceless_frames", "tracks", "frames", "notes"} <= set(faces)
    face = faces["frames"][3]["faces"][0]
    assert {"track", "bbox", "landmarks", "det_score", "similarity"} <= set(face)
    assert len(face["bbox"]) == 4 and np.shape(face["landmarks"]) == (5, 2)


def test_check_insightface_is_one_line(cli: Cli, clip: Path) -> None:
    pytest.importorskip("insightface.app")
    code, out, err = cli("score", "clip.mp4", "--reward-model-path", "pocket", "--check-insightface")
    assert code == 0, err
    [line] = [line for line in out.splitlines() if line.startswith("insightface")]
    assert line.split(None, 1)[1].startswith("agrees: 17 frames, 17 faces, lowest IoU 1.000, lowest cosine ")


PARITY: dict[str, Any] = {
    "agrees": True,
    "frames": 81,
    "faces": 81,
    "count_differences": [],
    "lowest_iou": 0.99996,
    "lowest_cosine": 0.999991,
    "antialiased": 0,
    "lowest_antialiased_cosine": None,
    "seconds": 3.1,
    "own_seconds": 1.34,
}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "insightface agrees: 81 frames, 81 faces, lowest IoU 1.000, lowest cosine 0.99999"),
        (
            {"agrees": False, "lowest_iou": 0.9, "count_differences": [3, 4, 5, 9]},
            "insightface does not agree: 81 frames, 81 faces, lowest IoU 0.900, lowest cosine 0.99999, "
            "another number of faces in frames 3-5, 9",
        ),
        ({"frames": 1, "faces": 0, "lowest_iou": None, "lowest_cosine": None}, "insightface agrees: 1 frame, 0 faces"),
        (
            {"antialiased": 1, "lowest_antialiased_cosine": 0.97},
            "insightface agrees: 81 frames, 81 faces, lowest IoU 1.000, lowest cosine 0.99999, "
            "1 large face averaged where insightface skips pixels (lowest cosine 0.97000)",
        ),
    ],
)
def test_the_line_on_insightface(changed: dict[str, Any], line: str) -> None:
    assert score_text.insightface_line({**PARITY, **changed}) == f"{line}, 3.1 s for what took 1.3 s here"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.mp4", "--reward-model-path", "pocket"), "none.mp4 does not exist"),
        (("text.mp4", "--reward-model-path", "pocket"), "text.mp4 is no video: it holds text"),
        (("clip.mp4",), "Missing option '--reward-model-path'"),
        (("clip.mp4", "--reward-model-path", "nowhere"), "nowhere does not exist"),
        (("clip.mp4", "--reward-model-path", "empty"), "empty has no .onnx file in it"),
        (("clip.mp4", "--reward-model-path", "broken"), "broken.onnx"),
        (("clip.mp4", "--reward-model-path", "pocket", "--judge-model-path", "no.onnx"), "no.onnx does not exist"),
        (("clip.mp4", "--reward-model-path", "pocket", "--reference", "text.mp4"), "text.mp4 is no video"),
        (("clip.mp4", "--reward-model-path", "pocket", "--overlay", "o.avi"), "o.avi must end with .mp4"),
        (("clip.mp4", "--reward-model-path", "pocket", "--json", "empty"), "is a folder: name a file"),
        (("clip.mp4", "--reward-model-path", "pocket", "--overlay", "./clip.mp4"), "clip.mp4 is named twice"),
        (("clip.mp4", "--reward-model-path", "pocket", "--overlay", "o.mp4", "--heat-map", "o.mp4"), "o.mp4 is named"),
        (("clip.mp4", "--reward-model-path", "pocket", "--set", "reward.pol=max"), "did you mean pool"),
        (("clip.mp4", "--reward-model-path", "pocket", "--set", "train.seed=1"), "Only settings of reward"),
        (("clip.mp4", "--reward-model-path", "pocket", "--set", "reward.det_size=100"), "a multiple of 32"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    cli: Cli, clip: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "text.mp4").write_text("a letter")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.onnx").write_bytes(b"\0" * 64)
    code, out, err = cli("score", *arguments)
    [line] = err.splitlines()
    assert code == 2 and out == "" and line.startswith("error: ") and words in line


def report(similarities: list[float | None], **changed: Any) -> dict[str, Any]:
    """faces.json of one person, None where there is no face."""
    face = {"track": 0, "identity": 0}
    frames = [
        {"frame": n, "faces": [] if value is None else [{**face, "similarity": value}]}
        for n, value in enumerate(similarities)
    ]
    known = [value for value in similarities if value is not None]
    mean = sum(known) / len(known) if known else None
    return {
        "video": "a.mp4", "fps": 10.0, "num_frames": len(frames), "width": 8, "height": 6,
        "reward": mean, "judge": None,
        "reference": {"kind": "own first frame", "source": None, "people": 1}, "frames": frames,
        "faceless_frames": [n for n, value in enumerate(similarities) if value is None],
        "tracks": [{"track": 0, "identity": 0, "mean_similarity": mean, "frames": len(known)}], **changed,
    }  # fmt: skip


def test_a_falling_similarity_and_gaps_are_told() -> None:
    values: list[float | None] = [1.0 - 0.01 * n for n in range(60)]
    values[10:13] = [None] * 3
    values[20] = None
    lines = list(score_text.lines(report(values, notes=["It is late."])))
    assert "(0.965 in its first tenth, 0.435 in its last), 56 frames" in lines[2]
    assert lines[3] == "no face       in 4 of 60 frames: 10-12, 20"
    assert lines[4].startswith("worst frames  59 (5.90 s, 0.410), 56 (5.60 s, 0.440)")
    assert lines[-1] == "note: It is late."


def test_of_a_crowd_the_longest_tracks_are_told() -> None:
    crowd = [{"track": n, "identity": None, "mean_similarity": None, "frames": 1 + n} for n in range(30)]
    lines = list(score_text.lines(report([0.5] * 3, tracks=crowd)))
    assert [line.split()[1] for line in lines if line.startswith("track ")] == [str(n) for n in range(20, 30)]
    assert "tracks        20 more, all of them shorter" in lines


def test_ranges_of_frames_stay_short() -> None:
    assert score_text.ranges([]) == "" and score_text.ranges([4]) == "4"
    assert score_text.ranges(list(range(0, 60, 2))).endswith("20, 22 and 18 more stretches")


def test_data_check_of_files_alone_starts_no_child(cli: Cli, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    table = tmp_path / "metadata.csv"
    table.write_text("video,prompt\nclip.mp4,a\n")
    code, out, err = cli("data-check", "metadata.csv")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "ROW  VIDEO     FRAMES  SIZE   FPS",
        "1    clip.mp4  17      64x64  8",
        "1 row, no problem found. Faces were not looked for: give --reward-model-path.",
    ]
    table.write_text("video,prompt\nclip.mp4,a\ntext.mp4,b\nnone.mp4,c\n")
    code, out, err = cli("data-check", "metadata.csv")
    assert code == 2 and "Problems in 2 of 3 rows." in out
    first, second = err.splitlines()
    assert first.startswith("error: row 2, video: ") and "it holds text" in first
    assert second.startswith("error: row 3, video: ") and "does not exist" in second
    listed = json.loads(cli("data-check", "metadata.csv", "--json")[1])
    assert [(problem["row"], problem["field"]) for problem in listed["problems"]] == [(2, "video"), (3, "video")]


def test_data_check_with_a_pack_looks_for_faces(cli: Cli, clip: Path, tmp_path: Path) -> None:
    video.write(tmp_path / "grey.mp4", np.full((5, 64, 64, 3), 128, np.uint8), 8)
    (tmp_path / "metadata.csv").write_text("video,prompt\nclip.mp4,a\ngrey.mp4,b\n")
    code, out, err = cli("data-check", "metadata.csv", "--reward-model-path", "pocket")
    assert code == 2 and out.splitlines()[0].split() == [
        *("ROW", "VIDEO", "FRAMES", "SIZE", "FPS", "FACE", "SCORE", "PEOPLE", "RATE"),
    ]
    assert out.splitlines()[1].split()[-2:] == ["1", "100%"] and "Problems in 1 of 2 rows." in out
    assert "Faces were not looked for" not in out
    [line] = err.splitlines()
    assert line.startswith("error: row 2, video: No face was found in the first frame of")


def test_data_check_of_a_table_that_is_none(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("data-check", "none.csv", "--set", "reward.det_size=320")
    assert code == 2 and "only with --reward-model-path" in err
    code, out, err = cli("data-check", "none.csv")
    assert code == 2 and out == "" and "none.csv does not exist" in err
    code, out, err = cli("data-check", "none.csv", "--json")
    [problem] = json.loads(out)["problems"]
    assert code == 2 and problem["row"] is None and "does not exist" in problem["message"]


def test_a_terminal_sees_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write = "import json, sys, time; json.dump({'done': 3, 'total': 9, 'message': 'Drawing'}, open(sys.argv[1], 'w')); "
    code = write + "time.sleep(0.6)"
    monkeypatch.setattr(inference_child, "inference_command", lambda *words: [sys.executable, "-c", code, *words])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line = ProgressLine(tmp_path / "status.json", "frames")
    inference_child.run(str(tmp_path / "status.json"), while_running=line)
    line.clear()
    shown = capfd.readouterr().err.split("\r\033[K")
    assert "Drawing 3 of 9 frames" in shown and shown[-1] == ""


def test_the_whole_way_with_a_child_of_its_own(clip: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "rewardfl_app", "score", "clip.mp4", "--reward-model-path", "pocket"],
        cwd=tmp_path,
        env=package_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    assert ended.stdout.startswith("clip.mp4: 17 frames of 64 x 64") and "\r" not in ended.stdout
