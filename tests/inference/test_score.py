"""One video scored: what the folder holds, against whom, what is said of poor input, and how much memory it takes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from steady_faces import SteadyFaces

from rewardfl_app.data import image, video
from rewardfl_app.data.writer import VideoWriter
from rewardfl_app.inference import clip_source
from rewardfl_app.inference import score as scoring
from rewardfl_app.inference.clip_source import to_frames
from rewardfl_app.inference.scoring_request import ScoringRequest
from rewardfl_app.inference.turned_video import TurnedVideo
from rewardfl_app.pocket import paths
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.observation import FrameFaces
from rewardfl_app.runs.jsonfile import read_json

Frames = NDArray[np.uint8]


def test_the_scored_folder_holds_all_that_the_page_shows(run_score: Any, clip: Path, portrait: Frames) -> None:
    Image.fromarray(portrait[0]).save(clip.parent / "who.png")
    judged = {"reward_model_path": str(paths.FACE_PACK), "judge_model_path": str(paths.JUDGE), "det_size": 96}
    scored = run_score(
        clip, ["video", "faces", "crops", "heat", "overlay"], reference=clip.parent / "who.png", reward=judged
    )
    assert scored.code == 0, scored.errors
    faces, out = scored.faces, scored.out
    assert faces["reference"] == {"kind": "image", "source": str(clip.parent / "who.png"), "people": 1}
    assert faces["video"] == "video.mp4" and faces["num_frames"] == len(faces["frames"]) == 17
    assert faces["reward"] > 0.5 and faces["judge"] is not None and faces["notes"] == []
    first = faces["frames"][0]["faces"][0]
    assert {"track", "identity", "bbox", "landmarks", "similarity", "judge_similarity", "pose", "crop"} <= set(first)
    numbers = [face["crop"] for frame in faces["frames"] for face in frame["faces"]]
    assert numbers == list(range(len(numbers)))
    sheet, about = Image.open(out / faces["crops"]["file"]), faces["crops"]
    assert sheet.width == about["size"] * about["columns"] and sheet.height == about["size"] * -(-len(numbers) // 16)
    for name in ("video.mp4", "heat.mp4"):
        assert video.probe(out / name) == video.VideoInfo(64, 64, 8.0, 17), name
    assert video.probe(out / "overlay.mp4").num_frames == 17
    heat = read_json(out / "heat.json")
    assert heat is not None and heat["scale"] > 0 and len(heat["frames"]) == 17 and heat["frames"][0] == 0
    reference = read_json(out / "reference" / "faces.json")
    assert reference is not None and reference["num_frames"] == 1 and reference["tracks"][0]["identity"] == 0
    assert reference["reference"] == faces["reference"]
    assert video.probe(out / "reference" / "video.mp4").num_frames == 1 and (out / "reference" / "crops.jpg").is_file()
    assert scored.status["state"] == "done" and scored.status["done"] == scored.status["total"]


def test_without_a_reference_the_first_frame_is_who_should_be_seen(run_score: Any, clip: Path) -> None:
    faces = run_score(clip).faces
    assert faces["reference"] == {"kind": "own first frame", "source": None, "people": 1}
    assert faces["frames"][0]["faces"][0]["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert faces["video"] == str(clip) and faces["crops"] is None


def test_a_reference_video_is_a_pool_and_another_person_scores_lower(
    run_score: Any, clip: Path, stranger: Frames
) -> None:
    video.write(clip.parent / "other.mp4", stranger, 8)
    same = run_score(clip, reference=clip).faces
    other = run_score(clip, reference=clip.parent / "other.mp4").faces
    assert same["reference"]["kind"] == "video" and same["reward"] > other["reward"] + 0.1


def test_a_heat_map_alone_leaves_the_folder_as_it_is(run_score: Any, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "faces.json").write_text('{"kept": true}')
    scored = run_score(clip, ["heat"], reference=clip, status=tmp_path / "status.json")
    assert scored.code == 0 and scored.faces == {"kept": True}
    assert sorted(path.name for path in scored.out.iterdir()) == ["faces.json", "heat.json", "heat.mp4"]
    heat = video.read(scored.out / "heat.mp4")
    box = run_score(clip).faces["frames"][8]["faces"][0]["bbox"]
    rows, columns = (heat[8].max(axis=2) > 40).nonzero()
    assert len(rows) and box[1] - 16 < rows.mean() < box[3] + 16 and box[0] - 16 < columns.mean() < box[2] + 16


def test_a_long_clip_gets_a_heat_map_of_its_beginning(
    run_score: Any, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring.heat_map, "MOST_FRAMES", 5)
    scored = run_score(clip, ["faces", "heat", "heat_over_video"])
    assert scored.faces["notes"] == ["The heat map shows the first 5 of 17 frames."]
    for name in ("heat.mp4", "heat_over_video.mp4"):
        assert video.probe(scored.out / name).num_frames == 5


def no_face(folder: Path) -> Path:
    video.write(folder / "grey.mp4", np.full((6, 64, 64, 3), 128, np.uint8), 8)
    return folder / "grey.mp4"


def test_no_face_anywhere_is_an_answer(run_score: Any, tmp_path: Path) -> None:
    scored = run_score(no_face(tmp_path), ["faces", "crops", "heat", "overlay", "video"])
    faces = scored.faces
    assert scored.code == 0 and faces["reward"] is None and faces["tracks"] == [] and faces["crops"] is None
    assert faces["faceless_frames"] == list(range(6)) and faces["reference"]["people"] == 0
    [note] = faces["notes"]
    assert note.startswith("No face was found in any of the 6 frames") and scored.status["message"] == note
    assert not video.read(scored.out / "heat.mp4").max() > 20


def test_faces_that_come_later_have_nobody_to_be_compared_with(run_score: Any, clip: Path, portrait: Frames) -> None:
    late = portrait.copy()
    late[:4] = 128
    video.write(clip, late, 8)
    faces = run_score(clip).faces
    assert faces["faceless_frames"][:4] == [0, 1, 2, 3] and faces["reward"] is None and faces["tracks"]
    assert "nobody to compare with: give a reference" in faces["notes"][0]


class Lying:
    """Finds a face only where the bright side is above."""

    def observe(self, frames: torch.Tensor) -> list[FrameFaces]:
        half = frames.shape[2] // 2
        upright = frames[:, :, :half].float().mean((1, 2, 3)) > 1.5 * frames[:, :, half:].float().mean((1, 2, 3))
        box, points = torch.zeros(1, 5), torch.zeros(1, 5, 2)
        return [FrameFaces(Faces(box[:n], points[:n]), torch.zeros(n, 3)) for n in upright.int().tolist()]


@pytest.mark.parametrize(("degrees", "quarters"), [(180, 2), (90, 1), (270, -1), (None, None)])
def test_a_video_that_lies_is_looked_at_from_the_other_sides(degrees: int | None, quarters: int | None) -> None:
    frames = np.zeros((12, 40, 40, 3), np.uint8)
    if quarters is not None:
        frames[:, :20] = 200
        frames = np.rot90(frames, quarters, axes=(1, 2))
    turned, scorer = TurnedVideo(), Lying()
    turned.keep(frames, scorer.observe(to_frames(frames)))
    assert turned.degrees(scorer) == degrees
    assert TurnedVideo().degrees(scorer) is None


def test_a_video_on_its_head_is_told(run_score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring.TurnedVideo, "degrees", lambda turned, scorer: 180)
    assert (
        "Faces are found when the video is turned by 180 degrees: turn it first."
        in run_score(no_face(tmp_path)).faces["notes"]
    )


def test_one_frame_and_a_still_image(run_score: Any, clip: Path, portrait: Frames) -> None:
    video.write(clip.parent / "one.mp4", portrait[:1], 8)
    Image.fromarray(portrait[0]).save(clip.parent / "one.png")
    for name in ("one.mp4", "one.png"):
        faces = run_score(clip.parent / name, ["faces", "video"]).faces
        assert faces["num_frames"] == 1 and faces["reward"] == pytest.approx(1.0, abs=1e-3)
        assert "one frame, compared with itself: give a reference" in faces["notes"][0]
        [note] = run_score(clip.parent / name, reference=clip.parent / "one.png").faces["notes"]
        assert note == "The video has one frame; nothing can be said about change."


def test_a_person_of_the_reference_who_is_not_seen(
    run_score: Any, clip: Path, portrait: Frames, stranger: Frames
) -> None:
    both = np.concatenate([portrait, stranger], axis=2)
    video.write(clip.parent / "both.mp4", both, 8)
    faces = run_score(clip, reference=clip.parent / "both.mp4").faces
    assert faces["reference"]["people"] == 2
    assert [n for n in faces["notes"] if n.startswith("The reward is the mean over the 2 people of the reference")]


def test_what_comes_before_a_damage_is_scored(run_score: Any, clip: Path) -> None:
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 6 // 10])
    scored = run_score(clip, ["faces", "video", "overlay"])
    faces = scored.faces
    assert scored.code == 0 and 2 <= faces["num_frames"] < 17
    [note] = faces["notes"]
    assert note.startswith(f"Only the {faces['num_frames']} frames before the damage of") and "cut off" in note
    for name in ("video.mp4", "overlay.mp4"):
        assert video.probe(scored.out / name).num_frames == faces["num_frames"]


@pytest.mark.parametrize("name", ["text.mp4", "none.mp4", "folder", "bad.png"])
@pytest.mark.parametrize("role", ["video", "reference"])
def test_bad_files_are_one_line_and_a_failed_status(run_score: Any, clip: Path, name: str, role: str) -> None:
    path = clip.parent / name
    if name == "folder":
        path.mkdir()
    elif name != "none.mp4":
        path.write_text("neither a picture nor a video")
    scored = run_score(path) if role == "video" else run_score(clip, reference=path)
    assert scored.code == 2
    [line] = scored.errors
    assert str(path) in line and scored.status["state"] == "failed"
    assert line == f"error: {scored.status['message']}"


def test_a_reference_without_a_face_is_refused(run_score: Any, clip: Path, tmp_path: Path) -> None:
    scored = run_score(clip, reference=no_face(tmp_path))
    assert scored.code == 2 and "No face was found in any of the 6 frames of the reference" in scored.errors[0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"reward": {"reward_model_path": "/nowhere"}}, "/nowhere does not exist"),
        ({"reward": {"reward_model_path": None}}, "Name the folder of a face pack"),
        ({"reward": {"reward_model_path": str(paths.FACE_PACK), "pol": 1}}, "no setting pol in reward"),
        ({"write": ["everything"]}, "everything cannot be written"),
        ({"colour": "red"}, "no colour in a scoring request"),
        ({"video": None}, "does not name video"),
    ],
)
def test_bad_requests_are_one_line(run_score: Any, clip: Path, changed: dict[str, Any], words: str) -> None:
    scored = run_score(clip, **changed)
    assert scored.code == 2 and words in scored.errors[0]


def test_a_broken_pack_fails_the_status_too(run_score: Any, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "a.onnx").write_bytes(b"no graph")
    scored = run_score(clip, reward={"reward_model_path": str(tmp_path / "pack")})
    assert scored.code == 2 and "a.onnx" in scored.errors[0] and scored.status["state"] == "failed"


@pytest.mark.parametrize("size", [(33, 47), (480, 33)])
def test_odd_sizes_go_through_every_output(run_score: Any, tmp_path: Path, portrait: Frames, size: Any) -> None:
    frames = np.stack([image.cover(frame, *size) for frame in portrait[:3]])
    with VideoWriter(tmp_path / "odd.mp4", *size, 8) as writer:
        writer.add(frames)
    scored = run_score(tmp_path / "odd.mp4", ["video", "faces", "crops", "heat", "heat_over_video", "overlay"])
    assert scored.code == 0, scored.errors
    info = video.probe(scored.out / "video.mp4")
    assert (info.height, info.width) == tuple(side + side % 2 for side in size)


def peak_bytes(path: Path, num_frames: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The most memory that arrays and objects take while a clip of 128 x 128 is scored."""
    folder = path / str(num_frames)
    folder.mkdir()
    with VideoWriter(folder / "v.mp4", 128, 128, 24, crf=40, preset="ultrafast") as writer:
        for start in range(num_frames):
            writer.add(np.full((1, 128, 128, 3), start % 200, np.uint8))
    monkeypatch.setattr(Scorer, "load", lambda reward, device: SteadyFaces.scorer())
    # Without crops: the sheet has room for 1024 faces at most, and grows up to that.
    content = {"video": folder / "v.mp4", "out": folder, "write": ["video", "faces", "heat", "overlay"]}
    request = ScoringRequest.of({**content, "reward": {"reward_model_path": str(paths.FACE_PACK)}})
    tracemalloc.start()
    try:
        scoring.score(request)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_pixels_of_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_source, "_PIXELS_AT_ONCE", 4 * 128 * 128)
    peak_bytes(tmp_path, 3, monkeypatch)  # what is imported and cached once
    short, long = peak_bytes(tmp_path, 16, monkeypatch), peak_bytes(tmp_path, 56, monkeypatch)
    # A frame has 49,152 bytes of pixels; what stays of the face found in it are a few thousand.
    assert (long - short) / 40 < 12_000


def test_a_real_person_drifts_away(run_score: Any, real_faces: Path) -> None:
    reward = {"reward_model_path": str(real_faces / "models" / "antelope_mini"), "det_size": 320}
    scored = run_score(real_faces / "video1.mp4", ["faces", "crops"], reward=reward)
    faces = scored.faces
    assert scored.code == 0 and faces["faceless_frames"] == [] and len(faces["tracks"]) == 1
    assert faces["tracks"][0]["frames"] == 81 and Image.open(scored.out / "crops.jpg").size == (16 * 112, 6 * 112)
    similarity = [frame["faces"][0]["similarity"] for frame in faces["frames"]]
    assert np.mean(similarity[1:9]) > 0.7 and np.mean(similarity[-8:]) < 0.6
