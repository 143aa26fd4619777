"""The heat map: one scale for the clip, black where nothing matters, the clip shining through on demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rewardfl_app.data import video
from rewardfl_app.inference import colours
from rewardfl_app.inference.heat_map import GAMMA, HeatMap
from rewardfl_app.runs.jsonfile import read_json


def gradients(num_frames: int = 6, side: int = 64) -> np.ndarray:
    """A square of frame-dependent strength: |d reward / d pixel| as small as it is in a long clip."""
    values = np.zeros((num_frames, side, side), np.float32)
    for frame in range(num_frames):
        values[frame, 16:48, 8:40] = 1e-7 * (frame + 1)
    return values


def filled(values: np.ndarray) -> HeatMap:
    heat = HeatMap(*values.shape[1:])
    for start in range(0, len(values), 4):
        heat.add(values[start : start + 4])
    return heat


def test_the_file_and_its_numbers(tmp_path: Path) -> None:
    values = gradients()
    steps: list[int] = []
    heat = filled(values)
    heat.write(tmp_path, 8.0, steps.append)
    about = read_json(tmp_path / "heat.json")
    assert about is not None and steps == [1] * 6 and heat.num_frames == 6
    assert about["scale"] == pytest.approx(6e-7, rel=0.01) and about["gamma"] == GAMMA
    assert about["frames"] == pytest.approx(values.mean((1, 2)).tolist(), rel=1e-5)
    frames = video.read(tmp_path / "heat.mp4")
    assert frames.shape == (6, 64, 64, 3)
    assert frames[:, :12].max() <= 8 and frames[:, :, 46:].max() <= 8
    middle = frames[:, 32, 24].astype(int)
    assert (np.diff(middle.sum(1)) > 0).all()
    assert np.abs(middle[2] - colours.heat(np.array((3e-7 / about["scale"]) ** GAMMA))).max() <= 24


def test_the_scale_leaves_out_the_few_largest_pixels() -> None:
    values = np.random.default_rng(0).uniform(1e-6, 2e-6, (3, 100, 100)).astype(np.float32)
    values[0, 0, :5] = 1.0
    expected = np.percentile(values[values > 0], 99.9)
    assert filled(values).scale() == pytest.approx(float(expected), rel=0.01)


def test_without_any_influence_it_is_black(tmp_path: Path) -> None:
    heat = filled(np.zeros((3, 32, 32), np.float32))
    heat.write(tmp_path, 8.0)
    assert heat.scale() == 0.0 and not video.read(tmp_path / "heat.mp4").max() > 4
    assert (read_json(tmp_path / "heat.json") or {})["frames"] == [0.0, 0.0, 0.0]


def test_over_the_clip_it_shines_on_a_dark_picture(tmp_path: Path) -> None:
    clip = np.full((6, 64, 64, 3), (200, 100, 60), np.uint8)
    filled(gradients()).write_over(tmp_path / "over.mp4", 8.0, iter([clip[:4], clip[4:]]))
    frames = video.read(tmp_path / "over.mp4").astype(int)
    assert frames.shape == clip.shape
    assert (frames[5, 32, 24] > frames[5, 5, 60]).all() and (frames[5, 5, 60] < clip[5, 5, 60]).all()
    assert 40 < frames[5, 5, 60, 0] < 140, "what lies around is still to be seen"
