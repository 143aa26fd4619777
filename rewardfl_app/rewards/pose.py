"""Where a head points to, from the five landmarks alone.

A camera far away sees x = s R X + t of a rigid face X. The affine camera that fits the five points best is one matrix
product; the rotation nearest to it gives the angles. Five points and a mean face make a rough estimate, good enough to
tell a frontal face from a profile.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Eyes, nose tip and mouth corners of a mean face: x to the right and y down as seen, z towards the camera, in the units
# of the 112-pixel crop. x and y are ArcFace's template; depths are those of the generic head of OpenCV's pose examples
# (eye corners 135, mouth corners 125 of 450 units between the eyes behind the tip of the nose).
_FACE = (
    (-17.6, -20.3, -15.0),
    (17.6, -20.3, -15.0),
    (0.0, -0.2, 0.0),
    (-14.6, 20.4, -13.9),
    (14.6, 20.4, -13.9),
)


def five_point_pose(landmarks: Tensor) -> Tensor:
    """Pitch, yaw and roll [M, 3] in degrees of landmarks [M, 5, 2] (x, y in pixels), float64.

    As seen by the viewer: pitch is positive when the face looks up, yaw when it turns to the right of the picture, roll
    when it leans clockwise. All are 0 for a face that matches the alignment template.
    """
    points = landmarks.detach().to(torch.float64)
    face = torch.tensor(_FACE, dtype=torch.float64, device=points.device)
    face = face - face.mean(0)
    camera = (points - points.mean(1, keepdim=True)).transpose(1, 2) @ face @ torch.linalg.inv(face.T @ face)
    u, _, v = torch.linalg.svd(camera, full_matrices=False)
    right, down = (u @ v).unbind(1)  # the first two rows of the rotation R = Ry(yaw) Rx(pitch) Rz(roll)
    ahead = torch.linalg.cross(right, down)
    pitch = torch.asin(-down[:, 2].clamp(-1.0, 1.0))
    yaw = torch.atan2(right[:, 2], ahead[:, 2])
    roll = torch.atan2(down[:, 0], down[:, 1])
    return torch.rad2deg(torch.stack([pitch, yaw, roll], 1))
