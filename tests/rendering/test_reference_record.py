from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from painted_faces import GREEN, RED, ColourRecogniser, paint, painted_pack

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.data.dataset import Clip
from rewardfl_app.data.manifest import Row
from rewardfl_app.rendering import reference_record
from rewardfl_app.rendering.scoring import ClipReference, Scorer
from rewardfl_app.rendering.store import Store
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.judge import JudgeReference
from rewardfl_app.rewards.protocol import RewardedClip
from rewardfl_app.rewards.reference import Person, Reference

ROW = Row(3, Path("clip.mp4"), "two people")
CPU = torch.device("cpu")


def frames() -> torch.Tensor:
    """The second person comes later."""
    return paint([[(10 + t, 20, RED), *([(50, 20, GREEN)] if t > 1 else [])] for t in range(6)])


def scorer(judge: bool, rewards: str = "face_similarity") -> Scorer:
    recogniser: Any = ColourRecogniser() if judge else None
    settings = RewardConfig(rewards=cast(Any, rewards))
    return Scorer(IdentityReward(painted_pack(), settings), recogniser, CPU)


def through_the_store(known: ClipReference, tmp_path: Path, row: Row = ROW) -> ClipReference:
    Store(tmp_path).put("reference", "k", *reference_record.record(known))
    stored = Store(tmp_path).read("reference", "k")
    assert stored is not None
    return reference_record.restored(stored, row, CPU)


@pytest.mark.parametrize("judge", [True, False])
def test_a_reference_comes_back_bit_for_bit(judge: bool, tmp_path: Path) -> None:
    known = scorer(judge).reference(Clip(ROW, frames().transpose(0, 1), frames()[0], None))
    assert len(known.reward.people) == 2
    again = through_the_store(known, tmp_path)
    assert (again.reward.faces, again.reward.tracks) == (known.reward.faces, known.reward.tracks)
    assert again.reward.num_frames == known.reward.num_frames == 6
    for one, two in zip(again.reward.people, known.reward.people, strict=True):
        assert torch.equal(one.pool, two.pool) and one.visible == two.visible
        assert (one.first is None) == (two.first is None)
        assert one.first is None or two.first is None or torch.equal(one.first, two.first)
    assert (again.judge is None) == (known.judge is None) == (not judge)
    if again.judge is not None and known.judge is not None:
        assert all(torch.equal(one, two) for one, two in zip(again.judge.pools, known.judge.pools, strict=True))
    video = frames().transpose(0, 1)[None]
    first, second = (scorer(judge).measure(video, [each])[0].values for each in (known, again))
    assert first == second


def test_rewards_of_ones_own_get_the_row_that_asks(tmp_path: Path) -> None:
    known = scorer(False, "face_similarity,own_rewards:Brightness").reference(
        Clip(ROW, frames().transpose(0, 1), frames()[0], None)
    )
    again = through_the_store(known, tmp_path, Row(9, Path("copy.mp4"), "at night"))
    assert again.clip is not None and known.clip is not None
    assert torch.equal(again.clip.first_frame, known.clip.first_frame)
    assert (again.clip.prompt, again.clip.video) == ("at night", Path("copy.mp4"))


def test_nothing_of_a_reference_is_forgotten() -> None:
    """A new field has to be recorded too, and the format's number raised."""
    names = {kind: {field.name for field in fields(kind)} for kind in (ClipReference, Reference, Person)}
    assert names == {
        ClipReference: {"reward", "judge", "clip"},
        Reference: {"people", "num_frames", "faces", "tracks"},
        Person: {"pool", "first", "visible"},
    }
    assert {field.name for field in fields(JudgeReference)} == {"pools"}
    assert {field.name for field in fields(RewardedClip)} == {"prompt", "first_frame", "video"}
