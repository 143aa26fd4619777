"""Files as people have them: every kind is read as it looks, and what is no video says so in one sentence."""

from __future__ import annotations

import struct
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rewardfl_app.data import image, video
from rewardfl_app.data.errors import DamagedVideo, VideoError
from rewardfl_app.data.writer import VideoWriter

Frames = NDArray[np.uint8]


def encode(
    path: Path,
    frames: Frames,
    codec: str,
    pix_fmt: str,
    source: str = "rgb24",
    ticks: list[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """The frames by any codec; `ticks` are their times in 1/1000 s."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=8, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if ticks is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=source)
            frame = frame.reformat(format=pix_fmt)
            if ticks is not None:
                frame.pts, frame.time_base = ticks[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turn(path: Path, degrees: int) -> None:
    """Change the display matrix of an mp4's track, as phones do: clockwise, in quarters."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    content = bytearray(path.read_bytes())
    # The matrix of the track header: nine 32-bit numbers, 40 bytes after the start of a version 0 header's payload.
    start = content.find(b"tkhd") + 4 + 40
    one = 1 << 16
    content[start : start + 36] = struct.pack(
        ">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30
    )
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path: Path, moving_bars: Frames) -> Path:
    video.write(tmp_path / "a.mp4", moving_bars, 8)
    return tmp_path / "a.mp4"


@pytest.mark.parametrize("chunk", [1, 5, 17, 100])
def test_a_stream_gives_every_frame_once_in_order(path: Path, chunk: int) -> None:
    chunks = list(video.stream(path, chunk))
    np.testing.assert_array_equal(np.concatenate(chunks), video.read(path))
    assert [len(part) for part in chunks[:-1]] == [chunk] * (len(chunks) - 1) and 1 <= len(chunks[-1]) <= chunk


def test_the_caller_holds_all_that_a_stream_keeps(tmp_path: Path) -> None:
    """What a stream has decoded and handed over is gone when the caller lets go of it."""
    with VideoWriter(tmp_path / "long.mp4", 32, 32, 8, preset="ultrafast") as writer:
        for index in range(300):
            writer.add(np.full((1, 32, 32, 3), index % 256, np.uint8))
    alive: list[weakref.ref[Frames]] = []
    most = 0
    for part in video.stream(tmp_path / "long.mp4", 8):
        alive.append(weakref.ref(part))
        most = max(most, sum(reference() is not None for reference in alive))
    assert len(alive) == 38 and most <= 2


@pytest.mark.parametrize(("degrees", "quarters"), [(90, -1), (180, 2), (270, 1)])
def test_a_clip_turned_by_its_metadata_is_upright(path: Path, degrees: int, quarters: int) -> None:
    upright = video.read(path)
    turn(path, degrees)
    np.testing.assert_array_equal(video.read(path), np.rot90(upright, quarters, axes=(1, 2)))


def test_a_variable_frame_rate_keeps_every_frame_and_tells_the_average(tmp_path: Path, moving_bars: Frames) -> None:
    ticks = [40 * n if n < 9 else 320 + 200 * (n - 8) for n in range(17)]
    path = encode(tmp_path / "v.mp4", moving_bars, "libx264", "yuv420p", ticks=ticks, options={"bf": "0"})
    info = video.probe(path)
    assert info.num_frames == 17 and len(video.read(path)) == 17
    assert info.varies and info.fps == pytest.approx(17 / (ticks[-1] + 200) * 1000, rel=0.15)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "source"),
    [
        ("alpha.webm", "libvpx-vp9", "yuva420p", "rgba"),
        ("alpha.mov", "qtrle", "argb", "rgba"),
        ("ten_bit.mp4", "libx264", "yuv420p10le", "rgb24"),
        ("full.mp4", "libx264", "yuv444p", "rgb24"),
        ("old.avi", "mpeg4", "yuv420p", "rgb24"),
    ],
)
def test_kinds_of_video_look_as_they_are(
    tmp_path: Path, moving_bars: Frames, name: str, codec: str, pix_fmt: str, source: str
) -> None:
    pixels = moving_bars
    if source == "rgba":
        pixels = np.concatenate([moving_bars, np.full((*moving_bars.shape[:3], 1), 128, np.uint8)], axis=3)
    path = encode(tmp_path / name, pixels, codec, pix_fmt, source)
    frames = np.concatenate(list(video.stream(path)))
    assert frames.shape == moving_bars.shape
    assert video.probe(path).num_frames == 17 and not video.probe(path).varies
    assert np.abs(frames[5, 40:60, 40:60].astype(int).mean((0, 1)) - moving_bars[5, 50, 50]).max() < 16


def test_grey_videos_have_three_equal_channels(tmp_path: Path, moving_bars: Frames) -> None:
    path = encode(tmp_path / "grey.mp4", moving_bars, "libx264", "gray")
    frames = video.read(path)
    assert frames.shape == moving_bars.shape
    assert np.abs(frames.astype(int) - frames[..., :1]).max() <= 2


def test_a_gif_that_moves_is_a_video(tmp_path: Path, moving_bars: Frames) -> None:
    pictures = [Image.fromarray(frame) for frame in moving_bars]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert not image.is_still(tmp_path / "a.gif")
    info = video.probe(tmp_path / "a.gif")
    assert (info.num_frames, info.fps) == (17, 10.0)
    frames = np.concatenate(list(video.stream(tmp_path / "a.gif", 4)))
    assert np.abs(frames.astype(int) - moving_bars).max() <= 8


@pytest.mark.parametrize("size", [(33, 48), (48, 33), (33, 35), (1, 1)])
def test_odd_sizes_are_written_one_pixel_larger(tmp_path: Path, size: tuple[int, int]) -> None:
    flat = np.full((3, *size, 3), (30, 160, 90), np.uint8)
    video.write(tmp_path / "odd.mp4", flat, 8)
    frames = video.read(tmp_path / "odd.mp4")
    assert frames.shape == (3, size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.abs(frames.astype(int) - flat[0, 0, 0]).max() <= 6


def test_4k_frames_and_a_single_frame(tmp_path: Path) -> None:
    video.write(tmp_path / "4k.mp4", np.full((1, 2160, 3840, 3), 77, np.uint8), 25)
    assert video.probe(tmp_path / "4k.mp4") == video.VideoInfo(2160, 3840, 25.0, 1)
    assert [part.shape for part in video.stream(tmp_path / "4k.mp4")] == [(1, 2160, 3840, 3)]


def sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def without_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=8)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        container.start_encoding()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_bytes(b""), r"is empty \(0 bytes\)"),
        (lambda path: path.write_text("Dear all, höre and see:\n1, 2, 3\n" * 400), "is no video: it holds text"),
        (lambda path: path.write_bytes(bytes(range(256)) * 40), "cannot be read as a video"),
        (sound, "is no video: it has only sound"),
        (without_frames, "is no video: it has no frames"),
        (Path.mkdir, "is a folder"),
        (lambda path: None, "does not exist"),
    ],
)
def test_what_is_no_video_says_what_it_is(tmp_path: Path, make: Any, words: str) -> None:
    path = tmp_path / "x.mp4"
    make(path)
    for use in (video.probe, video.read, lambda file: list(video.stream(file)), lambda file: list(_damaged(file))):
        with pytest.raises(VideoError, match=rf"x\.mp4 {words}") as told:
            use(path)
        assert "\n" not in str(told.value) and str(told.value).endswith(".")


def _damaged(path: Path) -> list[Frames]:
    return list(video.stream(path, on_damage=lambda damage: None))


@pytest.mark.parametrize("kept", [-4, 120])
def test_without_its_index_a_video_is_cut_off(tmp_path: Path, moving_bars: Frames, kept: int) -> None:
    path = encode(tmp_path / "x.mp4", moving_bars, "libx264", "yuv420p")  # the index comes last
    content = path.read_bytes()
    path.write_bytes(content[: content.rfind(b"moov") + kept])
    for use in (video.probe, lambda file: list(video.stream(file))):
        with pytest.raises(VideoError, match=r"x\.mp4 is cut off: the index of the video \(moov\) is"):
            use(path)


def test_frames_before_the_damage_are_given_to_those_who_ask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    path = tmp_path / "a.mp4"
    video.write(path, noise, 8)
    whole = video.read(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    told: list[DamagedVideo] = []
    frames = np.concatenate(list(video.stream(path, 7, on_damage=told.append)))
    [damage] = told
    assert 10 <= len(frames) == damage.num_frames < 30
    np.testing.assert_array_equal(frames, whole[: len(frames)])
    assert str(damage) == f"{path} is damaged after {len(frames)} frames: {damage.reason}." and "cut off" in str(damage)
    for use in (video.read, lambda file: list(video.stream(file))):  # training data must be whole
        with pytest.raises(DamagedVideo, match="cut off"):
            use(path)
    assert len(video.read(path, 10)) == 10


def test_the_writer_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no luck"), VideoWriter(tmp_path / "x.mp4", 32, 32, 8) as writer:
        writer.add(np.zeros((2, 32, 32, 3), np.uint8))
        raise RuntimeError("no luck")
    with pytest.raises(VideoError, match="must be uint8"), VideoWriter(tmp_path / "x.mp4", 32, 32, 8) as writer:
        writer.add(np.zeros((2, 32, 34, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


PIXELS = np.stack(np.meshgrid(np.arange(0, 240, 8), np.arange(0, 160, 8), [40]), -1)[:, :, 0].astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "make", "tolerance"),
    [
        ("a.png", lambda: Image.fromarray(PIXELS), 0),
        ("alpha.png", lambda: Image.fromarray(np.dstack([PIXELS, np.full((20, 30, 1), 9, np.uint8)])), 0),
        ("palette.png", lambda: Image.fromarray(PIXELS).quantize(256), 12),
        ("cmyk.jpg", lambda: Image.fromarray(PIXELS).convert("CMYK"), 30),
        ("a.gif", lambda: Image.fromarray(PIXELS), 12),
        ("a.webp", lambda: Image.fromarray(PIXELS), 24),
    ],
)
def test_kinds_of_pictures_look_as_they_are(tmp_path: Path, name: str, make: Any, tolerance: int) -> None:
    make().save(tmp_path / name)
    assert image.is_still(tmp_path / name)
    read = image.read(tmp_path / name)
    assert read.shape == PIXELS.shape and read.dtype == np.uint8
    assert np.abs(read.astype(int) - PIXELS).mean() <= tolerance


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16", "I", "F"])
def test_grey_pictures_of_any_depth_keep_their_brightness(tmp_path: Path, mode: str) -> None:
    grey = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    if mode.startswith("I"):
        picture = Image.fromarray(
            (grey.astype(np.uint32 if mode == "I" else np.uint16) * 257).astype("int32" if mode == "I" else "uint16")
        )
    elif mode == "F":
        picture = Image.fromarray(grey.astype(np.float32) / 255)
    else:
        picture = Image.fromarray(grey).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("I", "F") else "a.png")
    picture.save(path)
    read = image.read(path)
    assert read.shape == (32, 32, 3) and (read == read[..., :1]).all()
    assert abs(float(read.mean()) - float(grey.mean())) < 4
    if mode != "1":
        assert np.abs(read[..., 0].astype(int) - grey).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright_whatever_the_camera_was(tmp_path: Path, orientation: int) -> None:
    turn = Image.Transpose
    stored_by = {2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE,
                 6: turn.ROTATE_90, 7: turn.TRANSVERSE, 8: turn.ROTATE_270}  # fmt: skip
    stored = Image.fromarray(PIXELS)
    if orientation > 1:
        stored = stored.transpose(stored_by[orientation])
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(image.read(tmp_path / "a.png"), PIXELS)


def test_what_is_no_picture_says_so(tmp_path: Path, path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    for file in (tmp_path / "x.png", path):
        assert not image.is_still(file)
        with pytest.raises(image.ImageError, match="is no image: give a PNG or JPEG"):
            image.read(file)
    Image.effect_noise((64, 64), 90).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    with pytest.raises(image.ImageError, match=r"cut\.png cannot be read as an image"):
        image.read(tmp_path / "cut.png")
    assert not image.is_still(tmp_path / "none.png")
