"""Motion of the whole picture: a frozen clip has none, a trembling one stays near its first frame."""

from __future__ import annotations

import pytest
import torch
from painted_faces import RED, paint, painted_pack

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards import judge, motion
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.observation import Observer


def clip(levels: list[float], height: int = 40, width: int = 60) -> list[torch.Tensor]:
    """Thumbnails of frames of one grey level each, in [-1, 1]."""
    frames = torch.tensor(levels)[:, None, None, None].expand(-1, 3, height, width)
    return list(motion.thumbnails(frames))


def test_a_frozen_clip_has_no_motion() -> None:
    assert motion.frame_motion(clip([0.3] * 5)) == 0.0 and motion.first_frame_distance(clip([0.3] * 5)) == 0.0
    assert motion.frame_motion(clip([0.3])) is None and motion.first_frame_distance([]) is None


def test_units_are_percent_of_black_to_white() -> None:
    steps = clip([-1.0, -0.8, -0.6])  # a tenth of the range each
    assert motion.frame_motion(steps) == pytest.approx(10.0, abs=0.05)
    assert motion.first_frame_distance(steps) == pytest.approx(15.0, abs=0.05)


def test_trembling_is_motion_that_goes_nowhere() -> None:
    trembling, leaving = clip([0.0, 0.2, 0.0, 0.2, 0.0]), clip([0.0, 0.2, 0.4, 0.6, 0.8])
    assert motion.frame_motion(trembling) == pytest.approx(motion.frame_motion(leaving) or 0, abs=0.1)
    assert (motion.first_frame_distance(trembling) or 0) < 0.3 * (motion.first_frame_distance(leaving) or 0)


def test_thumbnails_are_small_and_the_same_in_eight_bits_and_in_chunks() -> None:
    torch.manual_seed(0)
    levels = torch.randint(0, 256, (4, 3, 90, 160), dtype=torch.uint8)
    small = motion.thumbnails(levels)
    assert small.shape == (4, 27, 48) and small.dtype == torch.float16
    torch.testing.assert_close(small, motion.thumbnails(levels.float() / 127.5 - 1), atol=1e-3, rtol=0)
    assert torch.equal(torch.cat([motion.thumbnails(part) for part in levels.split(3)]), small)
    assert motion.thumbnails(torch.zeros(1, 3, 20, 30)).shape == (1, 20, 30), "small frames stay as they are"


def test_measured_on_what_was_observed() -> None:
    settings = RewardConfig(det_size=64)
    observer, reward = Observer(painted_pack(), settings), IdentityReward(painted_pack(), settings)
    moving = paint([[(10 + 6 * t, 20, RED)] for t in range(5)])
    measured = []
    for frames in (moving, moving[:1].repeat(5, 1, 1, 1)):
        seen = observer.observe(frames)
        measured.append(judge.measure(seen, reward.result_of(seen, reward.reference_of(seen, True)).faces, None))
    assert (measured[0].frame_motion or 0) > 0.1 and measured[1].frame_motion == 0.0
    assert (measured[0].first_frame_distance or 0) > 0.1 and measured[1].first_frame_distance == 0.0
