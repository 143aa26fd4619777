"""The renderer draws who it is told to draw, and its geometry is that of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from rewardfl_app.pocket import motion, portrait
from rewardfl_app.pocket.clips import sample_clip
from rewardfl_app.pocket.renderer import neutral_pose, render, sample_scene


def _portrait(seed: int, size: int = 128, **pose_values: float):
    rng = np.random.default_rng(seed)
    identity, scene = portrait.sample_identity(rng)[None], sample_scene(rng)[None]
    pose = neutral_pose(1)
    for name, value in pose_values.items():
        pose[name][:] = value
    return identity, render(identity, pose, scene, size)


def test_same_seed_same_clip_and_other_seed_other_clip():
    first, again, other = (sample_clip(np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(first.drawing.images, again.drawing.images) and first.prompt == again.prompt
    assert not np.array_equal(first.drawing.images, other.drawing.images)


@pytest.mark.parametrize("seed", range(6))
def test_landmarks_lie_on_the_eyes_and_inside_the_box(seed):
    identity, drawing = _portrait(seed)
    box, points = drawing.boxes[0], drawing.landmarks[0]
    assert (points[:, 0] > box[0]).all() and (points[:, 0] < box[2]).all()
    assert (points[:, 1] > box[1]).all() and (points[:, 1] < box[3]).all()
    assert points[0, 0] < points[1, 0] and points[3, 0] < points[4, 0]
    for eye in points[:2]:  # the pupil is black
        x, y = np.round(eye).astype(int)
        assert drawing.images[0, y - 2 : y + 3, x - 2 : x + 3].min() < 60


def test_pose_moves_the_landmarks_as_named():
    _, still = _portrait(3)
    _, right = _portrait(3, yaw=0.5)
    _, closer = _portrait(3, zoom=1.2)
    assert (right.landmarks[0, :, 0] > still.landmarks[0, :, 0]).all()
    assert np.ptp(closer.landmarks[0, :, 0]) > 1.15 * np.ptp(still.landmarks[0, :, 0])


def test_drift_changes_the_person_and_leaves_the_first_frame():
    steady, drifting = (sample_clip(np.random.default_rng(8), drift) for drift in (0.0, 0.7))
    assert np.array_equal(steady.drawing.images[0], drifting.drawing.images[0])
    difference = np.abs(steady.drawing.images[-1].astype(int) - drifting.drawing.images[-1]).mean()
    assert difference > 1.0


def test_mixing_is_linear_between_two_people():
    rng = np.random.default_rng(0)
    a, b = portrait.sample_identity(rng), portrait.sample_identity(rng)
    assert np.allclose(portrait.mix(a, b, 0.0), a) and np.allclose(portrait.mix(a, b, 1.0), b)
    assert portrait.mix(a, b, np.linspace(0, 1, 5)).shape == (5, portrait.WIDTH)


def test_every_clip_moves_and_says_how():
    for seed in range(20):
        clip = sample_clip(np.random.default_rng(seed))
        assert clip.prompt.startswith(("a man with", "a woman with"))
        assert any(action in clip.prompt for action in motion.ACTIONS)
        travel = np.linalg.norm(clip.drawing.landmarks - clip.drawing.landmarks.mean(0), axis=-1).mean()
        assert travel > 0.5
