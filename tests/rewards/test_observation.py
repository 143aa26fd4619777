from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from face_graphs import recogniser_file
from painted_faces import BLUE, GREEN, RED, ColourRecogniser, paint, painted_pack

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards import alignment, observation
from rewardfl_app.rewards.attributes import Attributes, FaceAttributes
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.observation import Observer, sharpness_of
from rewardfl_app.rewards.pack import FacePack, load_recogniser
from rewardfl_app.rewards.recogniser import Recogniser

CLIP = paint([[(10 + 2 * t, 20, RED), (60, 30 - t, BLUE)] for t in range(5)] + [[], [(30, 8, GREEN)]])


def _observer(judge: bool = True) -> Observer:
    return Observer(painted_pack(), RewardConfig(), cast(Recogniser, ColourRecogniser()) if judge else None)


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Equal but for single levels of 256 in a crop, where rounding falls the other way."""
    return bool((F.cosine_similarity(first, second, dim=1) > 0.99999).all())


def test_chunk_after_chunk_is_the_whole_clip() -> None:
    whole = _observer().observe(CLIP)
    parts = [seen for chunk in CLIP.split(3) for seen in _observer().observe(chunk)]
    assert [len(seen) for seen in whole] == [2, 2, 2, 2, 2, 0, 1] == [len(seen) for seen in parts]
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one.detections.boxes, other.detections.boxes)
        torch.testing.assert_close(one.embeddings, other.embeddings)
        torch.testing.assert_close(one.judge, other.judge)
        assert [d.size for d in one.details] == [d.size for d in other.details]


def test_frames_of_eight_bit_give_the_same_as_their_float_values(small_pack: FacePack) -> None:
    settings = RewardConfig(det_size=128, det_threshold=0.5)
    pixels = torch.randint(0, 256, (3, 3, 160, 120), dtype=torch.uint8)
    observer = Observer(small_pack, settings)
    exact, floats = observer.observe(pixels), observer.observe(pixels.float() / 127.5 - 1)
    assert sum(len(seen) for seen in exact) > 3
    for one, other in zip(exact, floats, strict=True):
        assert torch.equal(one.detections.boxes, other.detections.boxes)
        assert _same(one.embeddings, other.embeddings)
        assert [d.sharpness for d in one.details] == pytest.approx([d.sharpness for d in other.details], rel=1e-4)


def test_what_the_reward_sees_is_what_is_measured(small_pack: FacePack) -> None:
    settings = RewardConfig(det_size=128, det_threshold=0.5)
    frames = torch.rand(3, 3, 160, 120) * 2 - 1
    observer = Observer(small_pack, settings)
    seen, observed = observer.see(frames), observer.observe(frames)
    assert all(s.details == () and s.judge is None for s in seen)
    for one, other in zip(seen, observed, strict=True):
        assert _same(one.embeddings, other.embeddings)


def test_a_crowd_is_embedded_in_parts(small_pack: FacePack, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RewardConfig(det_size=128, det_threshold=0.5)
    frames = torch.rand(4, 3, 160, 120) * 2 - 1
    whole = Observer(small_pack, settings).observe(frames)
    monkeypatch.setattr(observation, "_FACES_AT_ONCE", 3)
    parts = Observer(small_pack, settings).observe(frames)
    assert sum(len(seen) for seen in whole) > 6
    for one, other in zip(whole, parts, strict=True):
        assert _same(one.embeddings, other.embeddings)


def test_a_judge_of_another_size_gets_crops_of_its_own(small_pack: FacePack, tmp_path: Path) -> None:
    judge = load_recogniser(recogniser_file(tmp_path / "judge.onnx", seed=5))
    frames = torch.rand(2, 3, 160, 120) * 2 - 1
    seen = Observer(small_pack, RewardConfig(det_size=128, det_threshold=0.5), judge).observe(frames)
    for n, found in enumerate(seen):
        transforms = alignment.similarity_transforms(found.detections.landmarks, judge.size)
        index = torch.full((len(found),), n)
        crops = alignment.crop(frames, index, transforms, judge.size, eight_bit=True)
        with torch.no_grad():
            assert found.judge is not None and _same(found.judge, judge(crops))


def test_sharpness_falls_with_blur() -> None:
    picture = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sharp, soft = sharpness_of(picture), sharpness_of(F.avg_pool2d(picture, 3, 1, 1))
    assert bool((soft < 0.3 * sharp).all()) and sharpness_of(picture[:0]).shape == (0,)


def test_size_is_the_root_of_the_area_of_the_box() -> None:
    assert [d.size for d in _observer().observe(CLIP[:1])[0].details] == pytest.approx([24.0, 24.0])


def test_the_gradient_in_parts_is_the_gradient_of_the_reward() -> None:
    """d reward / d pixel by `pixel_gradient`, three frames at a time, against autograd over the whole clip."""
    for settings in (RewardConfig(), RewardConfig(pool="max"), RewardConfig(include_first_frame=True)):
        reward = IdentityReward(painted_pack(), settings)
        reference = reward.reference(CLIP[:5], CLIP[0])
        drifted = (CLIP * torch.tensor([0.9, 1.1, 0.8])[None, :, None, None]).requires_grad_(True)
        result = reward.score(drifted, reference)
        (expected,) = torch.autograd.grad(result.reward, drifted)
        parts = [
            reward.pixel_gradient(part, 3 * n, result, reference) for n, part in enumerate(drifted.detach().split(3))
        ]
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(torch.cat(parts), expected, atol=1e-7, rtol=1e-4)


def test_what_the_packs_further_files_say_of_a_face_is_kept() -> None:
    class Told:
        def measure(self, frames: torch.Tensor, index: torch.Tensor, boxes: torch.Tensor) -> list[FaceAttributes]:
            assert len(index) == len(boxes)
            whole = FaceAttributes(pose=(1.0, 2.0, 3.0), age=40, sex="F")
            return [whole if n % 2 == 0 else FaceAttributes(age=7) for n in range(len(boxes))]

    pack = replace(painted_pack(), attributes=cast(Attributes, Told()))
    first, second = Observer(pack, RewardConfig()).observe(CLIP[:1])[0].details
    assert (first.pitch, first.yaw, first.roll, first.age, first.sex) == (1.0, 2.0, 3.0, 40, "F")
    plain = _observer().observe(CLIP[:1])[0].details[1]
    assert (second.age, second.sex) == (7, None) and second.yaw == plain.yaw, "five landmarks where there are not more"


def test_what_is_foreseen_and_pulled_back_is_what_one_graph_sees() -> None:
    crowd = [(8 * n, 2, RED) for n in (0, 4, 8)]
    frames = (paint([crowd] * 4) + 0.01).requires_grad_(True)  # twelve faces: more than one group
    observer = _observer(judge=False)
    seen, foreseen = observer.see(frames), observer.foresee(frames.detach())
    weights = [torch.randn_like(faces.embeddings) for faces in foreseen]
    for one, other in zip(seen, foreseen, strict=True):
        assert not other.embeddings.requires_grad
        torch.testing.assert_close(other.embeddings, one.embeddings.detach())
    loss = sum((faces.embeddings * weight).sum() for faces, weight in zip(seen, weights, strict=True))
    (want,) = torch.autograd.grad(cast(torch.Tensor, loss), frames)
    index = torch.arange(4).repeat_interleave(torch.tensor([len(faces) for faces in foreseen]))
    landmarks = torch.cat([faces.detections.landmarks for faces in foreseen])
    got = observer.pull_back(frames.detach(), index, landmarks, torch.cat(weights))
    torch.testing.assert_close(got, want)
    nothing = observer.pull_back(frames.detach(), index[:0], landmarks[:0], torch.zeros(0, 3))
    assert nothing.shape == frames.shape and float(nothing.abs().max()) == 0
