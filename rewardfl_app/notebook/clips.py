"""Videos as they go to a notebook: small enough for its connection, which drops more than a few MB at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from rewardfl_app.data import video
from rewardfl_app.data.image import Pixels
from rewardfl_app.data.writer import VideoWriter

PANE = 256  # height of a video in a film, pixels
_GAP = 8  # between the videos of a film, pixels
_CRF = 20


def film(paths: Sequence[Path]) -> bytes:
    """One mp4 with the videos beside each other, cut to the shortest: so they are always in step.

    Raises VideoError.
    """
    return _film(tuple((path, _modified(path)) for path in paths))


@lru_cache(maxsize=64)
def _film(files: tuple[tuple[Path, int], ...]) -> bytes:
    clips = [video.read(path) for path, _ in files]
    length = min(map(len, clips))
    panes = [_scaled(clip[:length], PANE) for clip in clips]
    gap = np.zeros((length, PANE, _GAP, 3), np.uint8)
    parts = [part for pane in panes for part in (gap, pane)][1:]
    frames = np.concatenate(parts, axis=2)
    with tempfile.TemporaryDirectory(prefix="rewardfl-") as folder:
        path = Path(folder) / "film.mp4"
        fps = video.probe(files[0][0]).fps or 8.0
        with VideoWriter(path, frames.shape[1], frames.shape[2], fps, crf=_CRF, preset="veryfast") as writer:
            writer.add(frames)
        return path.read_bytes()


def stills(path: Path, count: int, height: int) -> list[Image.Image]:
    """Pictures from the whole of a video, the first and the last frame among them. Raises VideoError."""
    frames = video.read(path)
    chosen = frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]
    return [Image.fromarray(frame) for frame in _scaled(chosen, height)]


def _scaled(frames: Pixels, height: int) -> Pixels:
    """The frames at this height, even in width; those of a small model are enlarged smoothly."""
    width = max(2, round(frames.shape[2] * height / frames.shape[1] / 2) * 2)
    size = (width, height)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames])


def _modified(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
