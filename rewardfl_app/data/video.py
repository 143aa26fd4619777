"""Video files: probing, reading to the model's size, writing what every browser plays."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rewardfl_app.data import image
from rewardfl_app.data.errors import DataError
from rewardfl_app.data.image import Pixels

SIZE_MULTIPLE = 16  # the VAE halves three times and the transformer takes 2x2 patches
_ITU709 = 1  # FFmpeg's number of the BT.709 matrix, primaries and transfer curve
_LIMITED_RANGE = 1


class VideoError(DataError):
    """A video that cannot be read, is too short or cannot be written; the message names the file."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video is: size in pixels as shown (after rotation), frames per second, number of frames."""

    height: int
    width: int
    fps: float
    num_frames: int


def probe(path: Path) -> VideoInfo:
    """Look into a video: its first frame is decoded, the others are only counted. Raises VideoError."""
    with _open(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError(f"{path} has no frame that can be decoded.")
        height, width = _upright(first).shape[:2]
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        num_frames = stream.frames
    if not num_frames:  # some containers do not say
        with _open(path) as (container, stream):
            num_frames = sum(1 for packet in container.demux(stream) if packet.size)
    return VideoInfo(height, width, fps, num_frames)


def fit_size(height: int, width: int, max_pixels: int) -> tuple[int, int]:
    """The (height, width) a clip of this size is brought to.

    Both are multiples of 16 and together at most max_pixels (>= 256). Nothing is enlarged, but sides under 16 become
    16.
    """
    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    fitted_height, fitted_width = _down(height * scale), _down(width * scale)
    # A very long and thin clip: the short side was raised to 16, the long one pays for it.
    return min(fitted_height, _down(max_pixels / fitted_width)), min(fitted_width, _down(max_pixels / fitted_height))


def read(
    path: Path, num_frames: int | None = None, height: int | None = None, width: int | None = None, start: int = 0
) -> Pixels:
    """Consecutive frames as uint8 [T, H, W, 3] RGB, upright, beginning with frame `start`.

    With height and width (pixels) each frame is scaled to cover that size and its centre cut out. With num_frames,
    exactly so many are returned; without, all that there are. Raises VideoError when the video is shorter or cannot be
    read.
    """
    frames: list[Pixels] = []
    with _open(path) as (container, stream):
        for index, frame in enumerate(container.decode(stream)):
            if index < start:
                continue
            if num_frames is not None and len(frames) == num_frames:
                break
            pixels = _upright(frame)
            frames.append(pixels if height is None or width is None else image.cover(pixels, height, width))
    if not frames or (num_frames is not None and len(frames) < num_frames):
        needed = "at least one" if num_frames is None else str(num_frames)
        after = f" after the first {start}" if start else ""
        raise VideoError(
            f"{path} has {len(frames)} frames{after}, but {needed} are needed: take a longer clip or lower num_frames."
        )
    return np.stack(frames)


def resize(frames: Pixels, height: int, width: int) -> Pixels:
    """Frames uint8 [T, H, W, 3] scaled to cover height x width (pixels), keeping the aspect ratio, centre cut out."""
    return np.stack([image.cover(frame, height, width) for frame in frames])


def write(path: Path, frames: Pixels, fps: float, crf: int = 12) -> None:
    """Write frames uint8 [T, H, W, 3] RGB as H.264 mp4 (yuv420p, BT.709, index in front) at `fps` frames per second.

    Height and width must be even. `crf` is x264's quality, 0 (lossless) to 51; 12 is visually lossless. The file
    appears under its name only when it is whole. Raises VideoError.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise VideoError(f"{path}: frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}.")
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise VideoError(f"{path}: height and width must be even for H.264, got {height} x {width}.")
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        _encode(unfinished, frames, Fraction(fps).limit_denominator(1001), crf)
        os.replace(unfinished, path)
    except OSError as error:  # FFmpeg's errors are OSErrors too
        raise VideoError(f"{path} cannot be written ({error}).") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _encode(path: Path, frames: Pixels, fps: Fraction, crf: int) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        # No B-frames and a key frame every 12: the page's player seeks to single frames.
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "bf": "0", "g": "12"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _ITU709
        context.color_range = _LIMITED_RANGE
        for pixels in frames:
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode(None))


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream; every error of FFmpeg inside becomes a VideoError."""
    if not Path(path).is_file():
        raise VideoError(f"{path} does not exist.")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path} has no video in it.")
            yield container, container.streams.video[0]
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path} cannot be read as a video ({error}).") from error


def _upright(frame: VideoFrame) -> Pixels:
    """The frame as uint8 [H, W, 3] RGB, turned as its metadata says (phones record sideways)."""
    pixels: Pixels = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90)) if frame.rotation else pixels


def _down(length: float) -> int:
    """The largest multiple of 16 that is not above the length, at least 16."""
    return max(SIZE_MULTIPLE, int(length + 1e-6) // SIZE_MULTIPLE * SIZE_MULTIPLE)
