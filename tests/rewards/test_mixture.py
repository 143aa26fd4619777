"""Several rewards with weights, some of a person's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewardfl_app.config.problems import ConfigError
from rewardfl_app.rewards import protocol
from rewardfl_app.rewards.identity import RewardResult
from rewardfl_app.rewards.mixture import Mixture
from rewardfl_app.rewards.protocol import RewardedClip

DEVICE = torch.device("cpu")


def _faces(video: torch.Tensor, found: bool = True) -> list[RewardResult]:
    """The darkness of the first channel stands for a face similarity."""
    return [RewardResult(-clip[0].mean() if found else clip[:0].sum(), found, 1.0, [], [], []) for clip in video]


def _clips(*prompts: str) -> list[RewardedClip]:
    return [RewardedClip(prompt, torch.zeros(3, 8, 8), Path("clip.mp4")) for prompt in prompts]


def test_the_total_is_the_weighted_sum_and_reaches_the_pixels() -> None:
    video = torch.rand(2, 3, 4, 8, 8, requires_grad=True)
    weights = [("face_similarity", 2.0), ("own_rewards:Brightness", 0.5), ("own_rewards:NearFirstFrame", 0.0)]
    mixture = Mixture(weights, DEVICE)
    assert not mixture.is_faces_alone
    day, night = mixture.combine(video, _faces(video), _clips("day", "at night"))
    bright = video[:, :, 1:].mean((1, 2, 3, 4))
    assert float(day.total.detach()) == pytest.approx(float(-2 * video[0, 0].mean() + 0.5 * bright[0]), abs=1e-6)
    assert float(night.total.detach()) == pytest.approx(float(-2 * video[1, 0].mean()), abs=1e-6)
    assert day.counted and night.counted and night.terms["own_rewards:Brightness"] is None
    assert day.terms["own_rewards:NearFirstFrame"] == pytest.approx(-float(video[0].abs().mean()), abs=1e-5)
    (gradient,) = torch.autograd.grad(day.total, video)
    assert (
        float(gradient[0, 1, 1:].min()) > 0 and float(gradient[0, 0].max()) < 0 and float(gradient[1].abs().max()) == 0
    )


def test_a_weight_of_zero_is_measured_and_not_trained() -> None:
    video = torch.rand(1, 3, 4, 8, 8, requires_grad=True)
    mixture = Mixture([("face_similarity", 1.0), ("own_rewards:Brightness", 0.0)], DEVICE)
    (reward,) = mixture.combine(video, _faces(video, found=False), _clips("day"))
    assert reward.terms["own_rewards:Brightness"] is not None and not reward.counted
    (gradient,) = torch.autograd.grad(reward.total, video)
    assert float(reward.total.detach()) == 0.0 and float(gradient.abs().max()) == 0.0


def test_a_clip_without_a_face_is_still_scored_by_the_others() -> None:
    video = torch.rand(1, 3, 4, 8, 8)
    mixture = Mixture([("face_similarity", 1.0), ("own_rewards:Brightness", 1.0)], DEVICE)
    (reward,) = mixture.combine(video, _faces(video, found=False), _clips("day"))
    assert reward.counted and reward.terms["face_similarity"] is None
    assert float(reward.total) == pytest.approx(float(video[:, :, 1:].mean()), abs=1e-6)


def test_a_weight_on_the_face_similarity_alone_counts() -> None:
    video = torch.rand(2, 3, 4, 8, 8)
    mixture, faces = Mixture([("face_similarity", 0.5)], DEVICE), _faces(video)
    assert not mixture.is_faces_alone
    totals = [float(reward.total) for reward in mixture.combine(video, faces, [None, None])]
    assert totals == pytest.approx([0.5 * float(face.reward) for face in faces])


def test_alone_the_face_similarity_is_itself() -> None:
    video = torch.rand(2, 3, 4, 8, 8)
    mixture = Mixture([("face_similarity", 1.0)], DEVICE)
    faces = _faces(video)
    rewards = mixture.combine(video, faces, [None, None])
    assert mixture.is_faces_alone
    assert [float(r.total) for r in rewards] == pytest.approx([float(f.reward) for f in faces])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no_such_module:Reward", "its module cannot be imported"),
        ("own_rewards:Missing", "the module own_rewards has no Missing"),
        ("own_rewards:NeedsMore", r"NeedsMore\(device\) failed"),
        ("own_rewards:WithoutScore", r"it has no method score\(video, clips\)"),
    ],
)
def test_a_reward_that_cannot_be_made_is_refused_in_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        protocol.load(name, DEVICE)
    assert refused.value.problems[0].field == "reward.rewards" and name in refused.value.problems[0].message


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("OneNumber", r"values must be 2 floats, not \[\]"), ("NotANumber", "a value is infinite or not a number")],
)
def test_what_a_reward_returns_is_checked(name: str, sentence: str) -> None:
    video = torch.rand(2, 3, 4, 8, 8)
    mixture = Mixture([(f"own_rewards:{name}", 1.0)], DEVICE)
    with pytest.raises(ConfigError, match=sentence):
        mixture.combine(video, _faces(video), _clips("a", "b"))


def test_a_reward_that_looks_at_the_video_needs_it() -> None:
    video = torch.rand(1, 3, 4, 8, 8)
    alone, own = Mixture([("face_similarity", 1.0)], DEVICE), Mixture([("own_rewards:Brightness", 1.0)], DEVICE)
    assert not alone.looks_at_videos and own.looks_at_videos
    assert len(alone.combine(None, _faces(video), [None])) == 1
    with pytest.raises(ValueError, match="own_rewards:Brightness looks at the video"):
        own.combine(None, _faces(video), _clips("day"))
