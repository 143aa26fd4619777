"""Parity with insightface on every frame of real footage, and its people kept apart; skipped without the clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.data import video
from rewardfl_app.rewards import alignment
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.insightface_analysis import InsightfaceCheck
from rewardfl_app.rewards.observation import FrameFaces, Observer
from rewardfl_app.rewards.pack import FacePack, load_pack
from rewardfl_app.rewards.reference import Face


@pytest.fixture(scope="module")
def pack_folder(real_faces: Path) -> Path:
    return real_faces / "models" / "antelope_mini"


@pytest.fixture(scope="module")
def real_pack(pack_folder: Path) -> FacePack:
    return load_pack(pack_folder)


@pytest.fixture(scope="module")
def woman(real_faces: Path) -> np.ndarray:
    return video.read(real_faces / "video1.mp4")


@pytest.fixture(scope="module")
def people(real_faces: Path) -> np.ndarray:
    """Two people until frame 52, then a cut to two others; at times a fifth at the edge."""
    return video.read(real_faces / "two_people.mp4")


def _observed(pack: FacePack, frames: np.ndarray, det_size: int = 640) -> list[FrameFaces]:
    observer = Observer(pack, RewardConfig(det_size=det_size))
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return [seen for chunk in pixels.split(16) for seen in observer.observe(chunk)]


@pytest.mark.parametrize(("name", "num_faces"), [("woman", 81), ("people", 225)])
def test_every_frame_equals_insightface(
    request: pytest.FixtureRequest, pack_folder: Path, real_pack: FacePack, name: str, num_faces: int
) -> None:
    frames = request.getfixturevalue(name)
    check = InsightfaceCheck(pack_folder, 640, 0.5, 0.4)
    check.add(frames, _observed(real_pack, frames))
    report = check.result()
    assert report.count_differences == () and (report.frames, report.faces) == (len(frames), num_faces)
    assert report.lowest_iou is not None and report.lowest_iou >= 0.98
    assert report.lowest_cosine is not None and report.lowest_cosine >= 0.9999


def test_similarity_to_the_first_frame_falls_over_the_clip(real_pack: FacePack, woman: np.ndarray) -> None:
    reward = IdentityReward(real_pack, RewardConfig())
    seen = _observed(real_pack, woman)
    result = reward.result_of(seen, reward.reference_of(seen, is_clip=False))
    similarities = [value for value in result.similarities if value is not None]
    assert len(similarities) == 81 and similarities[0] > 0.999 and result.face_rate == 1.0
    assert np.mean(similarities[1:9]) > 0.7 and 0.3 < np.mean(similarities[-8:]) < 0.55


def test_each_person_has_one_track_that_never_swaps_where_the_largest_face_jumps(
    real_pack: FacePack, people: np.ndarray
) -> None:
    reward = IdentityReward(real_pack, RewardConfig())
    seen = _observed(real_pack, people)
    result = reward.result_of(seen, reward.reference_of(seen, is_clip=True))
    assert [track["frames"] for track in result.tracks] == [53, 53, 17, 51, 51]
    first = reward.result_of(seen, reward.reference_of(seen, is_clip=False)).tracks
    assert [track["unlike"] for track in first] == [False, False, False, True, False], "somebody else after the cut"
    # By embeddings: nobody resembles another track's person more than their own.
    embedded = {
        track["track"]: torch.stack([seen[n].embeddings[k] for n, k in _places(result.faces, track["track"])])
        for track in result.tracks
    }
    centres = torch.nn.functional.normalize(torch.stack([e.mean(0) for e in embedded.values()]), dim=1)
    for track, embeddings in embedded.items():
        assert bool(((embeddings @ centres.T).argmax(1) == track).all())
    largest = [max(faces, key=_area)["track"] for faces in result.faces]
    jumps = sum(one != other for one, other in zip(largest, largest[1:], strict=False))
    assert jumps >= 3 and len(set(largest[:53])) == 2, "within one shot the largest face is not one person"


def test_gradient_at_the_pixels_of_a_real_face(pack_folder: Path, woman: np.ndarray) -> None:
    """Float64, through alignment and recogniser: finite differences agree, nothing outside the face has a gradient, and
    a step along it raises the reward."""
    reward = IdentityReward(load_pack(pack_folder, dtype=torch.float64), RewardConfig(det_size=320))
    clip = torch.from_numpy(woman[[0, 40, 80]]).permute(0, 3, 1, 2).double() / 127.5 - 1
    reference = reward.reference(None, clip[0])
    frames = clip.clone().requires_grad_()
    result = reward.score(frames, reference)
    (gradient,) = torch.autograd.grad(result.reward, frames)
    assert result.reward.dtype == torch.float64 and float(gradient[0].abs().max()) == 0.0
    rows, columns = torch.nonzero(gradient[2].abs().sum(0) == gradient[2].abs().sum(0).max())[0].tolist()
    for row, column in [(rows, columns), (rows + 3, columns - 5)]:
        one = torch.zeros_like(clip)
        one[2, 1, row, column] = 1e-4
        slope = (_value(reward, clip + one, reference) - _value(reward, clip - one, reference)) / 2e-4
        assert slope == pytest.approx(float(gradient[2, 1, row, column]), rel=1e-3)
    landmarks = torch.tensor([result.faces[2][0]["landmarks"]])
    (transform,) = alignment.similarity_transforms(landmarks)
    y, x = torch.meshgrid(torch.arange(640.0), torch.arange(352.0), indexing="ij")
    in_crop = torch.einsum("ij,jyx->iyx", transform[:, :2], torch.stack([x, y]).double()) + transform[:, 2, None, None]
    outside = ((in_crop < -2) | (in_crop > 113)).any(0)
    assert float(outside.double().mean()) > 0.5 and float(gradient[2][:, outside].abs().max()) == 0.0
    stepped = reward.score(clip + 2 / 127.5 * gradient.sign(), reference)
    assert float(stepped.reward) > float(result.reward.detach()) + 0.05


def _value(reward: IdentityReward, frames: Tensor, reference: object) -> float:
    # Asked for with a gradient: without, crops are rounded to eight bit as insightface's are.
    return float(reward.score(frames.requires_grad_(), reference).reward.detach())  # type: ignore[arg-type]


def _places(faces: list[list[Face]], track: int) -> list[tuple[int, int]]:
    return [(n, k) for n, found in enumerate(faces) for k, face in enumerate(found) if face["track"] == track]


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face["bbox"]
    return (x1 - x0) * (y1 - y0)
