from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rewardfl_app.rewards.alignment import template
from rewardfl_app.rewards.pose import _FACE, five_point_pose


def _seen(pitch: float, yaw: float, roll: float) -> Tensor:
    """The five points [1, 5, 2] of the mean face turned by Ry(yaw) Rx(pitch) Rz(roll), far away, somewhere."""
    p, y, r = (math.radians(angle) for angle in (pitch, yaw, roll))
    about_z = torch.tensor([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    about_x = torch.tensor([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    about_y = torch.tensor([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    points = torch.tensor(_FACE) @ (about_y @ about_x @ about_z).T
    return (1.7 * points[None, :, :2] + torch.tensor([80.0, 33.0])).float()


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 0, 0), (0, -35, 0), (0, 0, 170), (-15, 40, 25), (30, -50, -60)])
def test_angles_of_a_turned_face_come_back(angles: tuple[float, float, float]) -> None:
    assert five_point_pose(_seen(*angles))[0].tolist() == pytest.approx(angles, abs=0.01)


def test_signs_are_those_of_the_viewer() -> None:
    front = template(112)[None]
    up, right, clockwise = front.clone(), front.clone(), front.clone()
    up[:, 2, 1] -= 6  # the tip of the nose moves up
    right[:, 2, 0] += 6
    clockwise[:, [1, 4], 1] += 6  # the right side of the picture sinks
    assert five_point_pose(up)[0, 0] > 5 and five_point_pose(right)[0, 1] > 5 and five_point_pose(clockwise)[0, 2] > 3
    assert five_point_pose(front)[0].abs().max() < 2


def test_no_faces_and_landmarks_on_one_point_stay_finite() -> None:
    assert five_point_pose(torch.zeros(0, 5, 2)).shape == (0, 3)
    assert torch.isfinite(five_point_pose(torch.ones(2, 5, 2))).all()
