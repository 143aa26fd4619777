"""Videos and pictures: what is written is read again, at the size the model takes."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from rewardfl_app.data import image, video
from rewardfl_app.data.video import VideoError, VideoInfo

Frames = NDArray[np.uint8]


@pytest.fixture
def path(tmp_path: Path, moving_bars: Frames) -> Path:
    video.write(tmp_path / "a.mp4", moving_bars, 8)
    return tmp_path / "a.mp4"


def test_frames_come_back_in_number_order_and_colour(path: Path, moving_bars: Frames) -> None:
    frames = video.read(path, 17)
    assert frames.shape == moving_bars.shape
    assert frames.dtype == np.uint8
    # Away from the bar's edges, where chroma is shared by four pixels, colours are kept to a few levels.
    assert np.abs(frames[0, 40:60, 8:30].astype(int) - moving_bars[0, 40:60, 8:30]).max() <= 6
    bars = frames.astype(int).min(axis=3).mean(axis=1).argmax(axis=1)
    assert np.abs(bars - (2 * np.arange(17) + 1.5)).max() <= 2


def test_the_file_is_what_browsers_play(path: Path) -> None:
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    content = path.read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")
    assert [child.name for child in path.parent.iterdir()] == ["a.mp4"]


def test_writing_twice_gives_the_same_bytes(path: Path, moving_bars: Frames) -> None:
    first = path.read_bytes()
    video.write(path, moving_bars, 8)
    assert path.read_bytes() == first


def test_probe(path: Path) -> None:
    assert video.probe(path) == VideoInfo(height=64, width=64, fps=8.0, num_frames=17)


def test_consecutive_frames_from_a_start(path: Path) -> None:
    whole = video.read(path)
    assert len(whole) == 17
    np.testing.assert_array_equal(video.read(path, 5, start=4), whole[4:9])


def test_a_short_clip_says_how_long_it_is(path: Path) -> None:
    with pytest.raises(VideoError, match="has 17 frames, but 21 are needed"):
        video.read(path, 21)
    with pytest.raises(VideoError, match="has 2 frames after the first 15, but 5"):
        video.read(path, 5, start=15)


def test_reading_to_a_size_covers_and_cuts(path: Path, moving_bars: Frames) -> None:
    frames = video.read(path, 3, height=32, width=48)
    assert frames.shape == (3, 32, 48, 3)
    np.testing.assert_array_equal(frames, video.resize(video.read(path, 3), 32, 48))
    # 64x64 scaled to 48x48, of which the middle 32 rows: the quarters still meet in the centre.
    assert np.abs(frames[0, 4, 40].astype(int) - moving_bars[0, 8, 60]).max() <= 8
    assert np.abs(frames[0, -4, 40].astype(int) - moving_bars[0, -8, 60]).max() <= 8


def test_shrinking_averages() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = image.cover(stripes, 16, 16)
    assert np.abs(small[2:-2, 2:-2].astype(int) - 128).max() <= 12


@given(st.integers(8, 200), st.integers(8, 200), st.integers(1, 12), st.integers(1, 12))
def test_cover_gives_the_size_asked_for(height: int, width: int, rows: int, columns: int) -> None:
    flat = np.full((height, width, 3), (10, 200, 90), np.uint8)
    covered = image.cover(flat, 16 * rows, 16 * columns)
    assert covered.shape == (16 * rows, 16 * columns, 3)
    assert (covered == (10, 200, 90)).all()


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(256, 10**6))
def test_fitted_sizes_are_multiples_of_16_within_the_limit(height: int, width: int, max_pixels: int) -> None:
    fitted_height, fitted_width = video.fit_size(height, width, max_pixels)
    assert fitted_height % 16 == fitted_width % 16 == 0
    assert fitted_height * fitted_width <= max_pixels
    assert fitted_height <= max(height, 16)
    assert fitted_width <= max(width, 16)


@pytest.mark.parametrize(
    ("size", "max_pixels", "fitted"),
    [((640, 352), 230400, (640, 352)), ((1920, 1080), 230400, (640, 352)), ((480, 480), 230400, (480, 480)),
     ((64, 64), 230400, (64, 64)), ((720, 1280), 230400, (352, 640))],
)  # fmt: skip
def test_fitted_sizes_follow_the_clip(size: tuple[int, int], max_pixels: int, fitted: tuple[int, int]) -> None:
    assert video.fit_size(*size, max_pixels) == fitted


def test_phones_that_record_sideways(path: Path, moving_bars: Frames) -> None:
    upright = video.read(path, 1)[0]
    content = bytearray(path.read_bytes())
    # The matrix of the track header: nine 32-bit numbers, 40 bytes after the start of a version 0 header's payload.
    start = content.find(b"tkhd") + 4 + 40
    turned = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)  # a quarter turn clockwise
    content[start : start + 36] = turned
    path.write_bytes(content)
    np.testing.assert_array_equal(video.read(path, 1)[0], np.rot90(upright, -1))


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"\x00\x00\x00\x20ftypisom" + b"\x00" * 100])
def test_files_that_are_no_video(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    for use in (video.probe, video.read):
        with pytest.raises(VideoError, match=r"x\.mp4"):
            use(path)
    with pytest.raises(VideoError, match="does not exist"):
        video.probe(tmp_path / "none.mp4")


def test_a_truncated_video_is_told(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 1500])
    with pytest.raises(VideoError, match=r"a\.mp4"):
        video.read(path, 17)


def test_what_cannot_be_written(tmp_path: Path, moving_bars: Frames) -> None:
    with pytest.raises(VideoError, match="must be uint8"):
        video.write(tmp_path / "x.mp4", moving_bars.astype(np.float32), 8)  # type: ignore[arg-type]
    with pytest.raises(VideoError, match="cannot be written"):
        video.write(tmp_path / "none" / "x.mp4", moving_bars, 8)
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_read_upright_and_without_transparency(tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:10] = (250, 10, 10)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(image.read(tmp_path / "a.png"), np.rot90(pixels, -1))
    picture.convert("RGBA").save(tmp_path / "b.png")
    assert image.read(tmp_path / "b.png", 16, 16).shape == (16, 16, 3)
    with pytest.raises(image.ImageError, match="does not exist"):
        image.read(tmp_path / "none.png")


def test_a_real_clip(real_faces: Path) -> None:
    info = video.probe(real_faces / "video1.mp4")
    height, width = video.fit_size(info.height, info.width, 230400)
    frames = video.read(real_faces / "video1.mp4", 5, height, width)
    assert frames.shape == (5, height, width, 3)
    assert 20 < frames.mean() < 235
