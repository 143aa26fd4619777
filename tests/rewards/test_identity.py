"""The reward: pools, hinge, penalty, missing faces, several people, batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from painted_faces import BLUE, GREEN, RED, Spot, mixed, paint, painted_pack
from torch import Tensor

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards.identity import IdentityReward

SHARES = [0.0, 0.1, 0.3, 0.2, 0.4]


def _reward(**settings: Any) -> IdentityReward:
    return IdentityReward(painted_pack(), RewardConfig(det_size=64, **settings))


def _at(colour: tuple[float, float, float], frame: int = 0) -> list[Spot]:
    return [(20 + frame, 16, colour)]


def _real() -> Tensor:
    return paint([_at(mixed(RED, GREEN, share), t) for t, share in enumerate(SHARES)])


def _generated() -> Tensor:
    return paint([_at(RED), *[_at(mixed(RED, BLUE, 0.15 * t), t) for t in range(1, 5)]])


def _unit(colours: list[tuple[float, float, float]]) -> Tensor:
    return F.normalize(torch.tensor(colours), dim=1)


REAL = _unit([mixed(RED, GREEN, share) for share in SHARES])
SEEN = _unit([RED, *[mixed(RED, BLUE, 0.15 * t) for t in range(1, 5)]])


def _expected(pool: str, scored: slice) -> float:
    e, g = SEEN[scored], REAL[1:]
    values = {
        "mean": (e @ g.T).mean(1),
        "max": (e @ g.T).amax(1),
        "centroid": e @ F.normalize(g.mean(0), dim=0),
        "first_frame": e @ REAL[0],
    }[pool]
    return float(values.mean())


@pytest.mark.parametrize("pool", ["mean", "max", "centroid", "first_frame"])
@pytest.mark.parametrize("include_first_frame", [False, True])
def test_pools(pool: str, include_first_frame: bool) -> None:
    reward = _reward(pool=pool, include_first_frame=include_first_frame)
    result = reward.score(_generated(), reward.reference(_real(), _real()[0]))
    assert float(result.reward) == pytest.approx(
        _expected(pool, slice(0 if include_first_frame else 1, None)), abs=5e-3
    )
    assert result.has_face and result.face_rate == 1.0 and result.faceless_frames == []
    assert len(result.similarities) == 5 and all(s is not None for s in result.similarities)


def test_the_first_frame_alone_can_be_the_reference() -> None:
    reward = _reward()
    result = reward.score(_generated(), reward.reference(None, _real()[0]))
    assert float(result.reward) == pytest.approx(float((SEEN[1:] @ REAL[0]).mean()), abs=5e-3)


def test_hinge_saturates_at_the_clips_own_similarity() -> None:
    reward = _reward(hinge=True)
    reference = reward.reference(_real(), _real()[0])
    table = REAL[1:] @ REAL[1:].T
    own = float((table.sum() - 4) / 12)
    assert reference.people[0].self_similarity("mean") == pytest.approx(own, abs=5e-3)
    ideal = paint([_at(mixed(RED, GREEN, 0.25), t) for t in range(5)]).requires_grad_()
    result = reward.score(ideal, reference)
    assert float(result.reward.detach()) == pytest.approx(own, abs=5e-3)
    assert torch.autograd.grad(result.reward, ideal)[0].abs().max() == 0
    plain = _reward()
    assert float(plain.score(ideal.detach(), reference).reward) > own + 0.005


@pytest.mark.parametrize("pool", ["mean", "max", "centroid", "first_frame"])
def test_self_similarity_leaves_one_out(pool: Any) -> None:
    person = _reward().reference(_real(), _real()[0]).people[0]
    expected = []
    for j in range(4):
        rest = torch.cat([REAL[1 : j + 1], REAL[j + 2 :]])
        row = REAL[j + 1] @ rest.T
        values = {
            "mean": row.mean(),
            "max": row.max(),
            "centroid": REAL[j + 1] @ F.normalize(rest.mean(0), dim=0),
            "first_frame": REAL[j + 1] @ REAL[0],
        }
        expected.append(values[pool])
    assert person.self_similarity(pool) == pytest.approx(float(torch.stack(expected).mean()), abs=5e-3)


def test_missing_faces_lower_the_reward_by_the_penalty_where_the_person_should_be_seen() -> None:
    generated = paint([_at(RED), _at(RED), [], [], _at(RED)])
    real = paint([_at(RED), _at(RED), _at(RED), [], _at(RED)])  # frame 3 shows nobody either
    plain, strict = _reward(), _reward(missing_face_penalty=0.6)
    reference = plain.reference(real, real[0])
    without, result = plain.score(generated, reference), strict.score(generated, reference)
    assert float(without.reward - result.reward) == pytest.approx(0.6 * 1 / 3, abs=1e-6)
    assert result.face_rate == pytest.approx(0.5) and result.faceless_frames == [2, 3]
    assert result.similarities[2] is None


def test_no_face_at_all_gives_zero_gradient_and_no_crash() -> None:
    reward = _reward(missing_face_penalty=0.25)
    reference = reward.reference(_real(), _real()[0])
    empty = torch.zeros(5, 3, 64, 96, requires_grad=True)
    result = reward.score(empty, reference)
    result.reward.backward()
    assert not result.has_face and result.face_rate == 0.0 and float(result.reward.detach()) == pytest.approx(-0.25)
    assert empty.grad is not None and float(empty.grad.abs().max()) == 0.0
    assert result.faceless_frames == [0, 1, 2, 3, 4] and result.tracks == []


def test_a_reference_without_a_face_says_so_and_scores_nothing() -> None:
    reward = _reward()
    reference = reward.reference(torch.zeros(3, 3, 64, 96), torch.zeros(3, 64, 96))
    assert not reference.has_face and not reference.first_frame_has_face
    frames = _generated().requires_grad_()
    result = reward.score(frames, reference)
    result.reward.backward()
    assert not result.has_face and float(result.reward.detach()) == 0.0
    assert [len(faces) for faces in result.faces] == [1] * 5 and result.faces[0][0]["similarity"] is None


def test_one_frame_is_scored_on_that_frame() -> None:
    reward = _reward()
    result = reward.score(_real()[:1], reward.reference(None, _real()[0]))
    assert float(result.reward) == pytest.approx(1.0, abs=1e-3)


def test_gradient_pulls_the_face_towards_the_person() -> None:
    reward = _reward()
    reference = reward.reference(_real(), _real()[0])
    frames = _generated().requires_grad_()
    result = reward.score(frames, reference)
    (gradient,) = torch.autograd.grad(result.reward, frames)
    assert float(gradient[0].abs().max()) == 0.0  # the given frame
    assert float(gradient[1:, :, :, 60:].abs().max()) == 0.0  # outside the face
    better = reward.score(frames.detach() + 20 * gradient, reference)
    assert float(better.reward) > float(result.reward) + 1e-4


def _two(first: tuple[float, float, float], second: tuple[float, float, float], count: int = 4) -> Tensor:
    return paint([[(4 + t, 10, first), (60 - t, 30, second)] for t in range(count)])


def test_two_people_are_scored_each_against_themselves() -> None:
    reward = _reward()
    reference = reward.reference(_two(RED, GREEN), _two(RED, GREEN)[0])
    assert len(reference.people) == 2
    right = reward.score(_two(GREEN, RED), reference)  # they sit the other way round, which is fine
    assert float(right.reward) == pytest.approx(1.0, abs=1e-3)
    assert sorted(t["identity"] for t in right.tracks if t["identity"] is not None) == [0, 1]
    one_wrong = reward.score(_two(GREEN, BLUE), reference)
    expected = (1 + float(_unit([RED])[0] @ _unit([BLUE])[0])) / 2
    assert float(one_wrong.reward) == pytest.approx(expected, abs=5e-3)


def test_a_bystander_does_not_count() -> None:
    reward = _reward()
    alone = paint([[(4 + t, 10, RED)] for t in range(4)])
    reference = reward.reference(alone, alone[0])
    result = reward.score(_two(RED, BLUE), reference)
    assert float(result.reward) == pytest.approx(1.0, abs=1e-3)
    assert [t["identity"] for t in result.tracks] == [0, None]


def test_a_batch_gives_what_each_clip_gives_alone() -> None:
    reward = _reward(hinge=True, missing_face_penalty=0.1)
    references = [reward.reference(_real(), _real()[0]), reward.reference(None, _two(RED, GREEN)[0])]
    clips = [_generated(), _two(RED, GREEN, 5)]
    video = torch.stack([clip.transpose(0, 1) for clip in clips]).requires_grad_()
    results = reward.score_batch(video, references)
    (gradient,) = torch.autograd.grad(torch.stack([r.reward for r in results]).sum(), video)
    for k, clip in enumerate(clips):
        frames = clip.clone().requires_grad_()
        alone = reward.score(frames, references[k])
        assert float(alone.reward) == pytest.approx(float(results[k].reward), abs=1e-6)
        assert alone.faces == results[k].faces and alone.tracks == results[k].tracks
        (own,) = torch.autograd.grad(alone.reward, frames)
        torch.testing.assert_close(gradient[k].transpose(0, 1), own)


def test_half_precision_video_is_scored() -> None:
    reward = _reward()
    reference = reward.reference(_real(), _real()[0])
    half = _generated().to(torch.bfloat16).requires_grad_()
    result = reward.score(half, reference)
    result.reward.backward()
    assert result.reward.dtype == torch.float32 and half.grad is not None and half.grad.dtype == torch.bfloat16
    assert float(result.reward.detach()) == pytest.approx(float(reward.score(_generated(), reference).reward), abs=1e-2)


def test_roll_compatible_refuses_what_the_reference_did_not_have() -> None:
    for odd in ({"pool": "max"}, {"hinge": True}, {"missing_face_penalty": 0.1}):
        with pytest.raises(ValueError, match="roll_compatible"):
            _reward(roll_compatible=True, **odd)
