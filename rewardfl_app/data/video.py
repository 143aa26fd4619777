"""Video files: probing, reading whole or chunk by chunk, writing what every browser plays."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rewardfl_app.data import container as boxes
from rewardfl_app.data import image
from rewardfl_app.data.errors import DamagedVideo, VideoError
from rewardfl_app.data.image import Pixels
from rewardfl_app.data.writer import VideoWriter

__all__ = ["DamagedVideo", "VideoError", "VideoInfo", "fit_size", "probe", "read", "resize", "stream", "write"]


_CUT_OFF = "the file is cut off; copy or download it again"


@dataclass(frozen=True)
class VideoInfo:
    """What a video is: size in pixels as shown (after rotation), frames per second, number of frames.

    With a variable frame rate (`varies`) `fps` is the average.
    """

    height: int
    width: int
    fps: float
    num_frames: int
    varies: bool = False


def probe(path: Path) -> VideoInfo:
    """Look into a video: its first frame is decoded, the others are only counted. Raises VideoError."""
    with _open(path) as (container, stream):
        if stream.codec_context is not None:  # it is None where nothing decodes what is in the file
            stream.codec_context.thread_count = 1  # starting more takes longer than the one frame
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError(f"{path} has no frame that can be decoded.")
        height, width = _upright(first).shape[:2]
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        num_frames = stream.frames
        # The shortest time between two frames; for interlaced video it is that between two fields.
        finest = float(stream.base_rate or 0)
    if not num_frames:  # some containers do not say
        with _open(path) as (container, stream):
            num_frames = sum(1 for packet in container.demux(stream) if packet.size)
    varies = fps > 0 and num_frames > 1 and not any(abs(finest / fps - times) < 0.05 * times for times in (1, 2))
    return VideoInfo(height, width, fps, num_frames, varies)


def fit_size(height: int, width: int, max_pixels: int, multiple: int = 16) -> tuple[int, int]:
    """The (height, width) a clip of this size is brought to.

    Both are multiples of `multiple` and together at most max_pixels (>= multiple^2). Nothing is enlarged, but sides
    under one multiple become one.
    """

    def down(length: float) -> int:
        return max(multiple, int(length + 1e-6) // multiple * multiple)

    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    fitted_height, fitted_width = down(height * scale), down(width * scale)
    # A very long and thin clip: the short side was raised to a multiple, the long one pays for it.
    return min(fitted_height, down(max_pixels / fitted_width)), min(fitted_width, down(max_pixels / fitted_height))


def read(
    path: Path, num_frames: int | None = None, height: int | None = None, width: int | None = None, start: int = 0
) -> Pixels:
    """Consecutive frames as uint8 [T, H, W, 3] RGB, upright, beginning with frame `start`.

    With height and width (pixels) each frame is scaled to cover that size and its centre cut out. With num_frames,
    exactly so many are returned; without, all that there are. Raises VideoError when the video is shorter or cannot be
    read.
    """
    frames: list[Pixels] = []
    for index, pixels in enumerate(_frames(path)):
        if index < start:
            continue
        frames.append(pixels if height is None or width is None else image.cover(pixels, height, width))
        if len(frames) == num_frames:
            break
    if not frames or (num_frames is not None and len(frames) < num_frames):
        needed = "at least one" if num_frames is None else str(num_frames)
        after = f" after the first {start}" if start else ""
        raise VideoError(
            f"{path} has {len(frames)} frames{after}, but {needed} are needed: take a longer clip or lower num_frames."
        )
    return np.stack(frames)


def stream(path: Path, chunk: int = 16, on_damage: Callable[[DamagedVideo], None] | None = None) -> Iterator[Pixels]:
    """All frames of a video in order, as uint8 [n, H, W, 3] RGB with n = chunk (less at the end), upright.

    Memory is that of one chunk, however long the video. A damaged file gives the frames before the damage and then
    calls `on_damage`; without it, or when no frame can be decoded, raises VideoError.
    """
    frames: list[Pixels] = []
    try:
        for pixels in _frames(path):
            frames.append(pixels)
            if len(frames) == chunk:
                yield np.stack(frames)
                frames = []
    except DamagedVideo as damage:
        if on_damage is None:
            raise
        on_damage(damage)
    if frames:
        yield np.stack(frames)


def resize(frames: Pixels, height: int, width: int) -> Pixels:
    """Frames uint8 [T, H, W, 3] scaled to cover height x width (pixels), keeping the aspect ratio, centre cut out."""
    return np.stack([image.cover(frame, height, width) for frame in frames])


def write(path: Path, frames: Pixels, fps: float, crf: int = 12) -> None:
    """Write frames uint8 [T, H, W, 3] RGB as H.264 mp4 (yuv420p, BT.709, index in front) at `fps` frames per second.

    `crf` is x264's quality, 0 (lossless) to 51; 12 is visually lossless. An odd height or width is written one pixel
    larger. The file appears under its name only when it is whole. Raises VideoError.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise VideoError(f"{path}: frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}.")
    with VideoWriter(path, frames.shape[1], frames.shape[2], fps, crf) as writer:
        writer.add(frames)


def _frames(path: Path) -> Iterator[Pixels]:
    """The decoded frames, upright. Raises VideoError when there is none, DamagedVideo where the file goes wrong."""
    count, sound = 0, False
    size: tuple[int, ...] | None = None
    with _open(path) as (container, stream):
        try:
            for frame in container.decode(stream):
                if frame.is_corrupt and sound:  # those before the first whole one are how a recording may begin
                    raise DamagedVideo(path, count, "the next one is corrupt")
                sound = sound or not frame.is_corrupt
                pixels = _upright(frame)
                size = size or pixels.shape
                if pixels.shape != size:
                    change = f"{size[1]} x {size[0]} to {pixels.shape[1]} x {pixels.shape[0]}"
                    raise DamagedVideo(path, count, f"the picture changes its size from {change}")
                yield pixels
                count += 1
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if not count:
                raise VideoError(f"{path} has no frame that can be decoded ({error}).") from error
            reason = _CUT_OFF if boxes.is_cut_off(path) else f"the rest cannot be decoded ({error})"
            raise DamagedVideo(path, count, reason) from error
    if not count:
        raise VideoError(f"{path} has no frame that can be decoded.")
    if boxes.is_cut_off(path):
        raise DamagedVideo(path, count, _CUT_OFF)


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream; every error of FFmpeg inside becomes a VideoError."""
    path = Path(path)
    if not os.path.isfile(path):
        kind = "is a folder" if os.path.isdir(path) else "is no file" if os.path.lexists(path) else ""
        raise VideoError(f"{path} {f'{kind}: name a video' if kind else 'does not exist'}.")
    try:
        with av.open(str(path)) as container:
            # The cover picture of a piece of music counts as video for FFmpeg.
            moving = [found for found in container.streams.video if found.disposition != Disposition.attached_pic]
            if not moving:
                if boxes.is_cut_off(path):
                    raise VideoError(boxes.why_unreadable(path, "cut off"))
                only = "only sound" if container.streams.audio else "no frames"
                raise VideoError(f"{path} is no video: it has {only}.")
            yield container, moving[0]
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoError(boxes.why_unreadable(path, error)) from error


def _upright(frame: VideoFrame) -> Pixels:
    """The frame as uint8 [H, W, 3] RGB, turned as its metadata says (phones record sideways).

    Transparency is ignored, as insightface's readers do; grey becomes RGB.
    """
    pixels: Pixels = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90)) if frame.rotation else pixels
