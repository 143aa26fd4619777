"""Judge, motion, sharpness and the report."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from painted_faces import BLUE, GREEN, RED, ColourRecogniser, mixed, paint, painted_pack

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards import judge as judging
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.observation import Observer
from rewardfl_app.rewards.recogniser import Recogniser
from rewardfl_app.rewards.reference import Face
from rewardfl_app.rewards.report import faces_report

JUDGE = cast(Recogniser, ColourRecogniser())


def _face(x: float, y: float, size: float = 40.0, identity: int | None = 0, track: int = 0) -> Face:
    points = [[x - 8, y - 8], [x + 8, y - 8], [x, y], [x - 6, y + 8], [x + 6, y + 8]]
    return Face(track=track, identity=identity, bbox=[x - size / 2, y - size / 2, x + size / 2, y + size / 2],
                landmarks=points, det_score=0.9, similarity=None, judge_similarity=None, size=size, sharpness=None,
                pose=None, age=None, sex=None)  # fmt: skip


def _measure(faces: list[list[Face]]) -> judging.JudgeResult:
    return judging.measure([], faces, None)


def test_motion_is_the_travel_in_percent_of_the_face() -> None:
    assert _measure([[_face(50, 50)]] * 5).motion == pytest.approx(0.0)
    swing = [[_face(50 + (4 if t % 2 else -4), 50)] for t in range(6)]
    assert _measure(swing).motion == pytest.approx(100 * 4 / 40)
    twice = [[_face(50 + (8 if t % 2 else -8), 50, size=80)] for t in range(6)]
    assert _measure(twice).motion == pytest.approx(10.0)
    assert _measure([[_face(50, 50)]]).motion is None


def test_motion_looks_at_the_main_person_only() -> None:
    moving = [[_face(20 + 5 * t, 50, identity=None, track=1), _face(70, 50)] for t in range(5)]
    assert _measure(moving).motion == pytest.approx(0.0)
    unknown = [[_face(20 + 5 * t, 50, identity=None, track=1)] for t in range(5)]
    assert (_measure(unknown).motion or 0) > 10


def test_sharpness_is_the_mean_over_the_main_person() -> None:
    faces = [[{**_face(50, 50), "sharpness": 10.0 * n}, {**_face(9, 9, identity=None, track=1), "sharpness": 99.0}]
             for n in range(3)]  # fmt: skip
    assert _measure(cast(Any, faces)).sharpness == pytest.approx(10.0)
    assert _measure([[]] * 3).sharpness is None


def test_size_and_spread_of_the_pose_are_those_of_the_main_person() -> None:
    poses = [{"yaw": (-1) ** n * 10.0, "pitch": 3.0, "roll": 0.0} for n in range(4)]
    turning = [[{**_face(50, 50, size=30 + n), "pose": pose}] for n, pose in enumerate(poses)]
    measured = _measure(cast(Any, turning))
    assert measured.face_size == pytest.approx(31.5)
    assert measured.yaw_spread == pytest.approx(10.0) and measured.pitch_spread == pytest.approx(0.0)
    assert _measure([[_face(50, 50)]]).yaw_spread is None and _measure([[]] * 3).face_size is None


def test_drift_is_the_last_tenth_minus_the_first_without_the_given_frame() -> None:
    falling = [1.0, *(0.9 - 0.01 * n for n in range(20))]
    assert judging.drift(falling) == pytest.approx(-0.18)
    assert judging.drift([1.0, 0.8, None, 0.6]) == pytest.approx(-0.2)
    assert judging.drift([1.0, 0.8]) is None and judging.drift([]) is None


def test_curves_are_the_similarity_of_every_frame() -> None:
    result, judged = _scored()
    assert judged.similarity_curve == result.similarities
    assert judged.judge_curve[2] is None and judged.judge_curve[3] == judged.similarities[3][0]
    assert judged.judge_drift == pytest.approx((judged.judge_curve[3] or 0) - (judged.judge_curve[1] or 0))


def test_face_rate_leaves_out_the_given_frame() -> None:
    assert _measure([[_face(50, 50)], [_face(50, 50)], [], [], [_face(50, 50)]]).face_rate == pytest.approx(0.5)
    assert _measure([[]] * 4).face_rate == 0.0


def _judged(
    real: torch.Tensor, made: torch.Tensor, is_clip: bool = True, judge: Recogniser | None = JUDGE
) -> tuple[Any, judging.JudgeResult]:
    settings = RewardConfig(det_size=64)
    reward, observer = IdentityReward(painted_pack(), settings), Observer(painted_pack(), settings, judge)
    seen = observer.observe(real)
    reference = reward.reference_of(seen, is_clip)
    known = judging.reference(seen, reference)
    seen = observer.observe(made)
    result = reward.result_of(seen, reference)
    return result, judging.measure(seen, result.faces, known)


def _scored(judge: Recogniser | None = JUDGE) -> tuple[Any, judging.JudgeResult]:
    real = paint([[(20 + t, 16, RED)] for t in range(4)])
    made = paint([[(20, 16, RED)], [(21, 16, mixed(RED, GREEN, 0.3))], [], [(23, 16, RED), (60, 30, BLUE)]])
    return _judged(real, made, judge=judge)


def test_judge_similarity_of_each_face_and_their_mean() -> None:
    _, judged = _scored()
    unit = F.normalize(torch.tensor([RED, mixed(RED, GREEN, 0.3)]), dim=1)
    drifted = float(unit[0] @ unit[1])
    assert judged.judge == pytest.approx((drifted + 1) / 2, abs=1e-2)
    assert [len(frame) for frame in judged.similarities] == [1, 1, 0, 2]
    assert judged.similarities[3][1] is None  # the bystander
    assert judged.face_rate == pytest.approx(2 / 3)


def test_without_a_judge_the_rest_is_measured() -> None:
    _, judged = _scored(judge=None)
    assert judged.judge is None and judged.motion is not None and judged.sharpness is not None


def test_single_first_frame_as_reference() -> None:
    real = paint([[(20, 16, RED)]])
    _, judged = _judged(real, paint([[(20, 16, RED)]] * 3), is_clip=False)
    assert judged.judge == pytest.approx(1.0, abs=1e-3)


def test_report_has_the_agreed_keys_and_is_json() -> None:
    result, judged = _scored()
    report = faces_report(result, judged, video="video.mp4", fps=8, width=96, height=64, prompt="p", seed=3)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report) == {
        "video", "fps", "num_frames", "width", "height", "prompt", "seed", "reward", "judge", "motion", "sharpness",
        "face_rate", "similarity_drift", "judge_drift", "frame_motion", "first_frame_distance", "face_size",
        "yaw_spread", "pitch_spread", "reference", "faceless_frames", "tracks", "frames", "crops",
    }  # fmt: skip
    assert set(report["tracks"][0]) == {"track", "identity", "mean_similarity", "frames", "unlike"}
    face = report["frames"][3]["faces"][0]
    assert set(face) == {
        "track", "identity", "bbox", "landmarks", "det_score", "similarity", "judge_similarity", "size", "sharpness",
        "pose", "age", "sex", "crop",
    }  # fmt: skip
    assert face["size"] == pytest.approx(24.0) and set(face["pose"]) == {"pitch", "yaw", "roll"}
    assert len(face["bbox"]) == 4 and len(face["landmarks"]) == 5 and face["judge_similarity"] is not None
    assert report["faceless_frames"] == [2] and report["frames"][2] == {"frame": 2, "faces": []}
    assert report["num_frames"] == 4 and report["reward"] == pytest.approx(float(result.reward), abs=1e-6)


def test_report_of_a_clip_without_faces_has_nulls() -> None:
    reward = IdentityReward(painted_pack(), RewardConfig(det_size=64))
    clip = torch.zeros(3, 3, 64, 96)
    result = reward.score(clip, reward.reference(None, clip[0]))
    report = faces_report(result, None, video="v.mp4", fps=8, width=96, height=64)
    assert report["reward"] is None and report["judge"] is None and report["motion"] is None
    assert report["faceless_frames"] == [0, 1, 2] and report["face_rate"] == 0.0
