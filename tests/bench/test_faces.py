"""The bench of the face stack: what it compares is the same, and its gradient is that of the reward."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rewardfl_app.bench import faces
from rewardfl_app.bench.workload import changed
from rewardfl_app.config.schema import Config
from rewardfl_app.data import video
from rewardfl_app.pocket import paths
from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.observation import FrameFaces
from rewardfl_app.rewards.pack import load_pack


def test_the_embedded_pack_finds_what_insightface_finds(pocket: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "NUM_FRAMES", 3)
    monkeypatch.setattr(faces, "REPEATS", 1)
    told: list[str] = []
    report = faces.measure(pocket, lambda what, done, total: told.append(what))
    scored, detected, embedded, trained = report.rows
    assert scored[4] == 3 and float(scored[5] or 0) <= 0.01 and float(scored[6] or 0) >= 0.9999
    assert all(float(row[0] or 0) > 0 for row in (scored, detected, embedded))
    assert trained[0] is None and trained[3] is None and trained[4] == 2  # frame 0 is given
    speed, cosine, counts = report.marks
    assert (speed.limit, speed.at_most) == (3.0, False) and cosine.met and counts.met
    assert any("insightface" in what for what in told)


def test_a_real_pack_finds_what_insightface_finds(
    pocket: Config, real_faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "NUM_FRAMES", 3)
    monkeypatch.setattr(faces, "REPEATS", 1)
    real = {"reward_model_path": str(real_faces / "models" / "antelope_mini"), "det_size": 640}
    config = changed(pocket, reward=real, data={"metadata_path": str(real_faces / "metadata.csv")})
    scored = faces.measure(config, lambda what, done, total: None).rows[0]
    assert scored[4] == 3 and float(scored[5] or 0) <= 0.01 and float(scored[6] or 0) >= 0.9999


def test_a_drawn_person_moves_about(pocket: Config) -> None:
    pixels = faces.clip(pocket, 9)
    assert pixels.shape == (9, 352, 640, 3) and pixels.dtype == np.uint8
    places = {tuple(np.argwhere((frame != 127).any(-1)).min(0)) for frame in pixels}
    assert len(places) >= 5


def test_another_pack_sees_the_clips_of_the_data_set_again_and_again(pocket: Config, tmp_path: Path) -> None:
    shutil.copytree(paths.FACE_PACK, tmp_path / "pack")
    picture = np.full((2, 100, 50, 3), 200, np.uint8)
    picture[1] = 90
    video.write(tmp_path / "a.mp4", picture, 8)
    (tmp_path / "metadata.csv").write_text("video,prompt\na.mp4,a person\n")
    own = changed(
        pocket,
        reward={"reward_model_path": str(tmp_path / "pack")},
        data={"metadata_path": str(tmp_path / "metadata.csv")},
    )
    pixels = faces.clip(own, 5)
    assert pixels.shape == (5, 352, 640, 3)
    levels = pixels[:, :, :170].reshape(5, -1).mean(1)
    np.testing.assert_allclose(levels, [200, 90, 200, 90, 200], atol=4)
    assert not pixels[:, :, 180:].any()


def test_the_gradient_at_the_pixels_is_that_of_the_reward(pocket: Config) -> None:
    settings = changed(pocket, reward={"det_size": 640}).reward
    identity = IdentityReward(load_pack(paths.FACE_PACK), settings)
    frames = torch.from_numpy(faces.clip(pocket, 5)).permute(0, 3, 1, 2).float() / 127.5 - 1
    reference = identity.reference(frames, frames[0])
    seen = (frames * 0.9).requires_grad_(True)
    (want,) = torch.autograd.grad(identity.score(seen, reference).reward, seen)
    got, counted = faces.pixel_gradient(identity, reference, seen.detach(), 2)
    assert counted == 4 and float(want.norm()) > 0
    assert float((got - want).norm() / want.norm()) <= 1e-5


def test_boxes_are_held_against_their_nearest() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10, 0.9], [50, 50, 60, 60, 0.8]])
    ours = FrameFaces(Faces(boxes, torch.zeros(2, 5, 2)), torch.zeros(2, 4))
    nobody = FrameFaces(Faces(boxes[:0], torch.zeros(0, 5, 2)), torch.zeros(0, 4))
    theirs = [SimpleNamespace(bbox=np.array(box, np.float32)) for box in ([50, 50, 60.5, 60], [0, 0.25, 10, 10])]
    assert faces.box_differences([ours, nobody, ours], [theirs, theirs, theirs[:1]]) == (3, 0.5)
