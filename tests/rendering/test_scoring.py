"""The scorer with a real reward on painted faces: colours are people."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from painted_faces import BLUE, RED, ColourRecogniser, paint, painted_pack

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.data.dataset import Clip
from rewardfl_app.data.errors import DataError
from rewardfl_app.data.manifest import Row
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.runs.video_values import MEASURES


@pytest.fixture
def scorer() -> Scorer:
    judge: Any = ColourRecogniser()
    return Scorer(IdentityReward(painted_pack(), RewardConfig()), cast(Any, judge), torch.device("cpu"))


def clip(frames: torch.Tensor, index: int = 1) -> Clip:
    row = Row(index, Path("clip.mp4"), "a person")
    return Clip(row, frames.transpose(0, 1), frames[0], None)


def person(colour: tuple[float, float, float], frames: int = 5) -> torch.Tensor:
    return paint([[(10 + 2 * t, 20, colour)] for t in range(frames)])


def test_the_same_person_scores_higher_than_another(scorer: Scorer) -> None:
    known = scorer.reference(clip(person(RED)))
    video = torch.stack([person(RED), person(BLUE)]).transpose(1, 2)
    same, other = scorer.measure(video, [known, known])
    assert set(same.values) == set(MEASURES)
    assert same.values["reward"] == pytest.approx(1.0, abs=1e-3) and same.values["judge"] == pytest.approx(
        1.0, abs=1e-3
    )
    assert cast(float, other.values["reward"]) < 0.5 and cast(float, other.values["judge"]) < 0.5
    assert same.values["face_rate"] == 1.0 and cast(float, same.values["motion"]) > 0


def test_rewards_reach_the_pixels_of_their_own_clip(scorer: Scorer) -> None:
    known = scorer.reference(clip(person(RED)))
    video = torch.stack([person((0.7, 0.1, -0.2)), torch.zeros_like(person(RED))]).transpose(1, 2).requires_grad_(True)
    found, empty = scorer.rewards(video, [known, known])
    assert found.counted and found.faces.has_face and not empty.counted and not empty.faces.has_face
    assert empty.terms == {"face_similarity": None}
    (gradient,) = torch.autograd.grad(found.total + empty.total, video)
    assert gradient[0, :, 1:].abs().max() > 0
    assert gradient[0, :, 0].abs().max() == 0, "frame 0 is given, it cannot be improved"
    assert gradient[1].abs().max() == 0


def test_a_video_without_a_face_has_no_reward(scorer: Scorer) -> None:
    known = scorer.reference(clip(person(RED)))
    (empty,) = scorer.measure(torch.zeros_like(person(RED)).transpose(0, 1)[None], [known])
    assert empty.values["reward"] is None and empty.values["face_rate"] == 0.0
    report = empty.report(fps=8, height=64, width=96, prompt="a person", seed=3)
    assert report["faceless_frames"] == list(range(5)) and report["reward"] is None


def test_a_row_without_a_face_in_the_first_frame_is_named(scorer: Scorer) -> None:
    frames = person(RED)
    frames[0] = 0
    with pytest.raises(DataError, match=r"Row 7: no face was found in the first frame of clip.mp4"):
        scorer.reference(clip(frames, index=7))
    assert scorer.has_face(torch.stack([frames[0], frames[1]])) == [False, True]
