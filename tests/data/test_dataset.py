from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from rewardfl_app.data import manifest, video
from rewardfl_app.data.dataset import ClipDataset, Order, to_pixels, to_tensor
from rewardfl_app.data.errors import DataError


@pytest.fixture
def rows(tmp_path: Path, moving_bars: NDArray[np.uint8]) -> list[manifest.Row]:
    video.write(tmp_path / "a.mp4", moving_bars, fps=8)
    video.write(tmp_path / "b.mp4", moving_bars[:, :, ::-1], fps=8)
    Image.fromarray(moving_bars[3, ::-1]).save(tmp_path / "still.png")
    table = "video,prompt,input_image,end_image\na.mp4,one,,\nb.mp4,two,still.png,\n"
    (tmp_path / "metadata.csv").write_text(table, encoding="utf-8")
    return manifest.read(tmp_path / "metadata.csv")


def test_clips_are_rgb_between_minus_one_and_one(rows: list[manifest.Row], moving_bars: NDArray[np.uint8]) -> None:
    clip = ClipDataset(rows, num_frames=9, max_pixels=4096)[0]
    assert clip.size == (9, 64, 64)
    assert clip.video.dtype == torch.float32
    want = to_tensor(moving_bars[:9])
    assert (clip.video - want).abs().mean() < 0.03
    assert torch.equal(clip.first_frame, clip.video[:, 0])
    assert clip.last_frame is None


def test_the_given_first_image_and_the_end_are_used(rows: list[manifest.Row], moving_bars: NDArray[np.uint8]) -> None:
    clip = ClipDataset(rows, 9, 4096, height=32, width=48, use_end_image=True)[1]
    assert clip.size == (9, 32, 48)
    still = ClipDataset(rows, 9, 4096)[1].first_frame
    assert (still - to_tensor(moving_bars[3:4, ::-1])[:, 0]).abs().max() < 1e-6
    assert clip.last_frame is not None and torch.equal(clip.last_frame, clip.video[:, -1])
    dataset = ClipDataset(rows, 9, 4096)
    for index in range(2):
        assert torch.equal(dataset.first_frame(index), dataset[index].first_frame)


def test_a_short_clip_is_named_by_its_row(rows: list[manifest.Row]) -> None:
    with pytest.raises(DataError, match=r"Row 2: .*b.mp4 has 17 frames"):
        ClipDataset(rows, 21, 4096)[1]


def test_pixels_round_trip(moving_bars: NDArray[np.uint8]) -> None:
    assert np.array_equal(to_pixels(to_tensor(moving_bars)), moving_bars)
    assert to_pixels(torch.full((3, 1, 2, 2), 1.7)).max() == 255


def test_every_pass_takes_every_row_once_in_a_new_order() -> None:
    order = Order(7, seed=3)
    passes = [order.take(7 * number, 7) for number in range(3)]
    assert all(sorted(taken) == list(range(7)) for taken in passes)
    assert passes[0] != passes[1]
    assert Order(7, seed=3).take(5, 4) == [*passes[0][5:], *passes[1][:2]]
    assert Order(7, seed=4).take(0, 7) != passes[0]
