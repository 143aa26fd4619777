"""Parity with insightface on real footage, and its people kept apart; skipped where the clips are absent."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards import alignment, tracks
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.pack import FacePack, load_pack

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def real_pack(real_faces: Path) -> FacePack:
    return load_pack(real_faces / "models" / "antelope_mini")


def _frames(path: Path, numbers: list[int]) -> np.ndarray:
    with av.open(str(path)) as video:
        frames = itertools.islice(video.decode(video=0), max(numbers) + 1)
        return np.stack([frame.to_ndarray(format="rgb24") for n, frame in enumerate(frames) if n in numbers])


def _tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize(("name", "numbers"), [("video1.mp4", [0, 60]), ("two_people.mp4", [0, 60])])
def test_boxes_landmarks_and_embeddings_equal_insightface(
    real_faces: Path, real_pack: FacePack, name: str, numbers: list[int]
) -> None:
    insightface = pytest.importorskip("insightface.app")
    app = insightface.FaceAnalysis(name="antelope_mini", root=str(real_faces), providers=["CPUExecutionProvider"])
    app.prepare(-1, det_size=(640, 640))
    frames = _frames(real_faces / name, numbers)
    found = real_pack.detector.detect(_tensor(frames), 640)
    count = 0
    for n, (frame, faces) in enumerate(zip(frames, found, strict=True)):
        expected = app.get(np.ascontiguousarray(frame[:, :, ::-1]))
        assert len(faces) == len(expected)
        if not expected:
            continue
        count += len(faces)
        boxes = torch.from_numpy(np.stack([face.bbox for face in expected]))
        assert float(tracks.iou(faces.boxes, boxes).diagonal().min()) >= 0.98
        np.testing.assert_allclose(faces.landmarks.numpy(), np.stack([face.kps for face in expected]), atol=0.1)
        transforms = alignment.similarity_transforms(faces.landmarks)
        index = torch.zeros(len(faces), dtype=torch.long)
        crops = alignment.crop(_tensor(frames[n : n + 1]), index, transforms, eight_bit=True)
        for ours, theirs in zip(real_pack.recogniser(crops), expected, strict=True):
            assert float(torch.cosine_similarity(ours, torch.from_numpy(theirs.embedding), dim=0)) >= 0.9999
    assert count >= len(numbers)


def test_similarity_to_the_first_frame_falls_over_the_clip(real_faces: Path, real_pack: FacePack) -> None:
    clip = _tensor(_frames(real_faces / "video1.mp4", [0, 40, 80]))
    reward = IdentityReward(real_pack, RewardConfig(det_size=320))
    result = reward.score(clip, reward.reference(None, clip[0]))
    similarities = [s for s in result.similarities if s is not None]
    assert len(similarities) == 3 and similarities[0] > 0.99
    assert 0.2 < similarities[-1] < 0.6 and result.face_rate == 1.0


def test_people_keep_one_track_each_over_a_cut_where_the_largest_face_becomes_someone_else(
    real_faces: Path, real_pack: FacePack
) -> None:
    clip = _tensor(_frames(real_faces / "two_people.mp4", list(range(45, 61, 2))))  # the cut is before frame 53
    reward = IdentityReward(real_pack, RewardConfig(det_size=320))
    reference = reward.reference(clip[:4], clip[0])
    assert len(reference.people) == 2 and [track["frames"] for track in reference.tracks] == [4, 4]
    result = reward.score(clip, reference)
    assert [track["frames"] for track in result.tracks] == [4, 4, 4, 4]
    assert [track["identity"] is None for track in result.tracks[:2]] == [False, False]
    largest = [
        max(faces, key=lambda f: (f["bbox"][2] - f["bbox"][0]) * (f["bbox"][3] - f["bbox"][1]))["track"]
        for faces in result.faces
    ]
    assert len(set(largest[:4])) == len(set(largest[4:])) == 1 and largest[0] != largest[4]
    for track in range(4):  # each sits on one side for the whole shot
        assert len({f["bbox"][0] > 430 for faces in result.faces for f in faces if f["track"] == track}) == 1


def test_a_step_along_the_gradient_raises_the_reward(real_faces: Path, real_pack: FacePack) -> None:
    clip = _tensor(_frames(real_faces / "video1.mp4", [0, 40, 80]))
    reward = IdentityReward(real_pack, RewardConfig(det_size=320))
    reference = reward.reference(None, clip[0])
    frames = clip.clone().requires_grad_()
    before = reward.score(frames, reference)
    (gradient,) = torch.autograd.grad(before.reward, frames)
    after = reward.score(clip + 2 / 127.5 * gradient.sign(), reference)
    assert float(after.reward) > float(before.reward.detach()) + 0.05
