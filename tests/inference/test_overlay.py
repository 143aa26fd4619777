"""The scored video with its marks: each face where it is, in its person's colour, and the curve underneath."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rewardfl_app.inference import colours
from rewardfl_app.inference.overlay import Overlay
from rewardfl_app.inference.similarity_strip import curves

Face = dict[str, Any]


def face(
    box: tuple[float, ...],
    identity: int | None = 0,
    similarity: float | None = 0.7,
    judge: float | None = None,
) -> Face:
    x0, y0, x1, y1 = box
    points = [[x0 + share * (x1 - x0), y0 + share * (y1 - y0)] for share in (0.3, 0.4, 0.5, 0.6, 0.7)]
    return {"track": identity or 0, "identity": identity, "bbox": list(box), "landmarks": points, "det_score": 0.9,
            "similarity": similarity, "judge_similarity": judge}  # fmt: skip


def report(frames: list[list[Face]], height: int = 640, width: int = 352) -> dict[str, Any]:
    people = sorted({f["identity"] for faces in frames for f in faces}, key=str)
    return {
        "width": width,
        "height": height,
        "fps": 16.0,
        "faceless_frames": [n for n, faces in enumerate(frames) if not faces],
        "tracks": [{"track": n, "identity": who, "mean_similarity": 0.5, "frames": 1} for n, who in enumerate(people)],
        "frames": [{"frame": n, "faces": faces} for n, faces in enumerate(frames)],
    }


def near(picture: np.ndarray, colour: colours.Colour, tolerance: int = 12) -> np.ndarray:
    return (np.abs(picture.astype(int) - colour).max(axis=2) <= tolerance).nonzero()


def test_each_person_has_a_colour_and_a_bystander_is_grey() -> None:
    found = [face((40, 200, 120, 300)), face((200, 200, 300, 320), 1, 0.2), face((60, 420, 140, 520), None, None)]
    drawn = Overlay(report([found, found])).draw(np.zeros((640, 352, 3), np.uint8), 0)[:640]
    for each in found:
        rows, columns = near(drawn, colours.person(each["identity"]))
        x0, y0, x1, y1 = each["bbox"]
        # The box's four edges, and the label above it.
        assert abs(columns.min() - x0) <= 4 and rows.max() == pytest.approx(y1, abs=4)
        assert (rows < y0 - 4).any() and len(rows) > 2 * (x1 - x0)
    assert len({colours.person(0), colours.person(1), colours.person(None), colours.JUDGE}) == 4


def test_pixels_away_from_the_faces_stay() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (640, 352, 3), dtype=np.uint8)
    drawn = Overlay(report([[face((100, 300, 200, 400))]])).draw(pixels, 0)
    np.testing.assert_array_equal(drawn[:260], pixels[:260])
    np.testing.assert_array_equal(drawn[420:640], pixels[420:])
    assert (drawn[300:400, 95:205] != pixels[300:400, 95:205]).any()


def test_no_face_is_said_and_the_playhead_moves() -> None:
    overlay = Overlay(report([[face((100, 300, 200, 400))], [], [face((100, 300, 200, 400))]]))
    black = np.zeros((640, 352, 3), np.uint8)
    drawn = [overlay.draw(black, frame) for frame in range(3)]
    assert len(near(drawn[1][:60], colours.WARNING)[0]) > 500 and not drawn[0][:60].any()
    heads = [np.bincount(near(picture[675:720], colours.INK)[1]).argmax() for picture in drawn]
    assert heads[0] < heads[1] < heads[2]


@pytest.mark.parametrize("size", [(64, 64), (33, 51), (640, 352), (2160, 3840), (1, 1), (20, 900)])
def test_any_size_gets_legible_text_and_an_even_picture(size: tuple[int, int]) -> None:
    height, width = size
    boxes = [(0, 0, width, height), (-5, -5, 2, 2), (width - 1, height - 1, width + 9, height + 9), (1, 1, 1, 1)]
    overlay = Overlay(report([[face(box) for box in boxes], []], height, width))
    for frame in range(2):
        drawn = overlay.draw(np.zeros((height, width, 3), np.uint8), frame)
        assert drawn.shape == (*overlay.size, 3) and not any(side % 2 for side in overlay.size)
    assert min(overlay.size) >= 320


def test_curves_follow_each_person_and_the_judge() -> None:
    frames = [[face((0, 0, 9, 9), 0, 0.9, 0.8), face((9, 9, 20, 20), 1, 0.3)], [], [face((0, 0, 9, 9), 1, 0.4)]]
    assert curves(report(frames)) == [
        (colours.person(0), [0.9, None, None]),
        (colours.person(1), [0.3, None, 0.4]),
        (colours.JUDGE, [0.8, None, None]),
    ]
    assert curves(report([[], []])) == []


def test_a_long_clip_is_drawn_as_one_curve() -> None:
    values = [[face((10, 10, 40, 40), 0, 0.5 + 0.4 * (n % 2))] for n in range(4000)]
    overlay = Overlay(report(values, 96, 96))
    assert overlay.draw(np.zeros((96, 96, 3), np.uint8), 3999).shape == (*overlay.size, 3)


def test_heat_begins_black_and_grows_brighter() -> None:
    ramp = colours.heat(np.linspace(-0.5, 1.5, 400)).astype(float) @ [0.299, 0.587, 0.114]
    assert not colours.heat(np.zeros((2, 3))).any() and colours.heat(np.zeros((2, 3))).shape == (2, 3, 3)
    assert (np.diff(ramp) >= -1).all() and ramp[-1] > 230
