"""Windows of the latents around faces."""

from __future__ import annotations

import torch

from rewardfl_app.rendering import face_windows
from rewardfl_app.rendering.face_gradients import FaceGradients
from rewardfl_app.rewards.alignment import TEMPLATE


def faces(*squares: tuple[int, int, float, float, float]) -> FaceGradients:
    """Faces by frame, person, left, top and side in pixels, each with the gradient (1, 2)."""
    boxes = torch.tensor([[x, y, x + side, y + side] for _, _, x, y, side in squares])
    landmarks = torch.stack(
        [torch.tensor(TEMPLATE) / 112 * side + torch.tensor([x, y]) for _, _, x, y, side in squares]
    )
    frames, people = torch.tensor([s[0] for s in squares]), torch.tensor([s[1] for s in squares])
    return FaceGradients(frames, people, boxes, landmarks, torch.tensor([[1.0, 2.0]]).expand(len(squares), 2))


def test_one_window_holds_a_person_in_every_frame_with_room_around() -> None:
    found = faces((1, 0, 80.0, 40.0, 32.0), (2, 0, 96.0, 48.0, 32.0))
    (window,) = face_windows.around(found, 0.0, (32, 64), 8)
    # a hair beyond the box: the crop's own rounding
    assert window.columns.start in (9, 10) and window.columns.stop in (16, 17)
    assert window.rows.start in (4, 5) and window.rows.stop in (10, 11)
    shift = torch.tensor([8.0 * window.columns.start, 8.0 * window.rows.start])
    torch.testing.assert_close(window.faces.landmarks + shift, found.landmarks)
    torch.testing.assert_close(window.faces.boxes + shift.repeat(2), found.boxes)
    (wider,) = face_windows.around(found, 0.5, (32, 64), 8)
    assert wider.columns.start <= window.columns.start - 2 and wider.rows.stop >= window.rows.stop + 2


def test_a_window_stays_in_the_picture() -> None:
    (window,) = face_windows.around(faces((0, 0, -20.0, 100.0, 64.0)), 2.0, (16, 16), 8)
    assert (window.rows, window.columns) == (slice(0, 16), slice(0, 16))
    (beyond,) = face_windows.around(faces((0, 0, 900.0, 900.0, 32.0)), 0.0, (16, 16), 8)
    assert (beyond.rows, beyond.columns) == (slice(15, 16), slice(15, 16))


def test_people_apart_have_windows_of_their_own_and_those_together_share_one() -> None:
    apart = face_windows.around(faces((0, 0, 8.0, 8.0, 32.0), (0, 1, 400.0, 200.0, 32.0)), 0.25, (64, 64), 8)
    assert sorted(int(window.faces.people) for window in apart) == [0, 1]
    together = face_windows.around(faces((0, 0, 8.0, 8.0, 32.0), (0, 1, 16.0, 12.0, 32.0)), 0.25, (64, 64), 8)
    assert len(together) == 1 and together[0].faces.people.tolist() == [0, 1]


def test_no_face_no_window() -> None:
    nobody = faces((0, 0, 8.0, 8.0, 32.0)).where(torch.tensor([False]))
    assert face_windows.around(nobody, 0.5, (16, 16), 8) == []


def test_every_third_frame_counts_three_times() -> None:
    found = faces(*((frame, 0, 8.0, 8.0, 32.0) for frame in range(7)))
    thinned = [found.every(3, offset) for offset in range(3)]
    assert [part.frames.tolist() for part in thinned] == [[0, 3, 6], [1, 4], [2, 5]]
    assert all(part.gradients.tolist() == [[3.0, 6.0]] * len(part) for part in thinned)
