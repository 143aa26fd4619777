"""A run with a reward of a person's own beside the face similarity, through the real scorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from painted_faces import ColourRecogniser, painted_pack

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.data.dataset import Clip
from rewardfl_app.rendering.scoring import ClipReference, Scorer
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.runs import metrics
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.training.__main__ import main

MakeRun = Callable[..., RunFolder]


class FacelessScorer(Scorer):
    """Random networks draw no faces: a first frame without one is taken all the same."""

    @classmethod
    def load(cls, reward: RewardConfig, device: torch.device | str = "cpu") -> Scorer:
        return cls(IdentityReward(painted_pack(), reward), cast(Any, ColourRecogniser()), torch.device(device))

    def has_face(self, first_frames: torch.Tensor) -> list[bool]:
        return [True] * len(first_frames)


@pytest.fixture(autouse=True)
def scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    def reference(self: Scorer, clip: Clip) -> ClipReference:
        known = self.reference_of(self.observe(clip.first_frame[None]), is_clip=False)
        return self.with_clip(known, clip)

    monkeypatch.setattr(Scorer, "load", FacelessScorer.load)
    monkeypatch.setattr(FacelessScorer, "reference", reference)


def test_its_value_rises_and_is_recorded_beside_the_whole(make_run: MakeRun) -> None:
    run = make_run("own", reward={"rewards": "face_similarity=0,own_rewards:Brightness=2", "kl_weight": 0.0})
    assert main([str(run.path)]) == 0
    records = metrics.read_all(run.metrics)
    step = next(record for record in records if not metrics.is_evaluation(record))
    own = "reward/own_rewards:Brightness"
    assert step["reward"] == pytest.approx(2 * step[own], rel=1e-5) and "reward/face_similarity" in step
    first, *_, last = (record for record in records if metrics.is_evaluation(record))
    assert last[f"eval/{own}"] > first[f"eval/{own}"] == last[f"eval/{own}_baseline"]
    assert last["eval/reward"] == pytest.approx(2 * last[f"eval/{own}"], rel=1e-5)


def test_a_reward_that_is_not_there_ends_the_run_with_its_name(make_run: MakeRun) -> None:
    run = make_run("missing", reward={"rewards": "own_rewards:Nobody"})
    assert main([str(run.path)]) == 2
    failure = cast(dict[str, Any], read_json(run.failure))
    assert failure["cause"] == "bad_config" and "own_rewards has no Nobody" in failure["sentence"]
