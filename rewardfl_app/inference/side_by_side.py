"""One video that plays every sample before (left) and after (right), one sample after another, with captions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rewardfl_app.data import video
from rewardfl_app.data.image import Pixels
from rewardfl_app.inference.pairs import Pair

BACKGROUND = (16, 18, 22)
INK = (236, 238, 242)
MUTED = (154, 160, 170)
ACCENT = (144, 144, 247)
_SMALLEST_PANE = 320
_LARGEST_BYTES = 384 * 2**20  # of all frames of the film together, which are held in memory
_MARGIN, _GAP, _TITLE, _FOOTER = 24, 16, 56, 60


def write_side_by_side(
    path: Path,
    pairs: Sequence[Pair],
    before_label: str,
    after_label: str,
    advance: Callable[[int], None] = lambda done: None,
) -> None:
    """Write the film of all pairs as H.264; `advance` is told how many pairs are in it, all of them once it is written.

    Raises VideoError when one of the videos cannot be read or the film not written.
    """
    infos = [video.probe(sample.video) for pair in pairs for sample in (pair.before, pair.after)]
    lengths = [min(infos[i].num_frames, infos[i + 1].num_frames) for i in range(0, len(infos), 2)]
    pane = _pane_size(max(info.height for info in infos), max(info.width for info in infos), sum(lengths))
    parts = []
    for position, pair in enumerate(pairs, start=1):
        poster = _poster(pair, position, len(pairs), before_label, after_label, pane)
        parts.append(_play(read_pair(pair), poster, pane))
        if position < len(pairs):
            advance(position)
    video.write(path, np.concatenate(parts), infos[0].fps or 8.0)
    advance(len(pairs))


def write_pair(path: Path, pair: Pair, gap: int = 4) -> None:
    """Write one pair, before | after, in its own size and without captions; `gap` in pixels, even.

    Raises VideoError.
    """
    before, after = read_pair(pair)
    height = max(before.shape[1], after.shape[1])
    space = np.full((len(before), height, gap, 3), BACKGROUND, dtype=np.uint8)
    joined = np.concatenate([_pad(before, height), space, _pad(after, height)], axis=2)
    video.write(path, joined, video.probe(pair.after.video).fps or 8.0, crf=18)


def read_pair(pair: Pair) -> tuple[Pixels, Pixels]:
    """Both videos, uint8 [T, H, W, 3], cut to the shorter one. Raises VideoError."""
    before, after = video.read(pair.before.video), video.read(pair.after.video)
    length = min(len(before), len(after))
    return before[:length], after[:length]


def _pad(frames: Pixels, height: int) -> Pixels:
    missing = height - frames.shape[1]
    return np.pad(frames, ((0, 0), (0, missing), (0, 0), (0, 0)))


def _pane_size(height: int, width: int, num_frames: int) -> tuple[int, int]:
    """(height, width) of one side: small videos enlarged, long films reduced until they fit into memory; both even."""
    scale = float(max(1, math.ceil(_SMALLEST_PANE / height)))
    film = num_frames * 3 * (height * scale + _TITLE + _FOOTER) * (2 * width * scale + 2 * _MARGIN + _GAP)
    scale *= min(1.0, math.sqrt(_LARGEST_BYTES / film))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def _poster(
    pair: Pair, position: int, count: int, before_label: str, after_label: str, pane: tuple[int, int]
) -> Image.Image:
    """The still around the two videos: title, labels and the values of both sides."""
    height, width = pane
    picture = Image.new("RGB", (2 * width + 2 * _MARGIN + _GAP, height + _TITLE + _FOOTER), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    title, text = ImageFont.load_default(18), ImageFont.load_default(15)
    counter = f"{position} / {count}"
    draw.text((picture.width - _MARGIN, 20), counter, fill=MUTED, font=text, anchor="ra")
    room = picture.width - 2 * _MARGIN - draw.textlength(counter, font=text) - 16
    caption = str(pair.after_faces.get("prompt") or pair.name)
    draw.text((_MARGIN, 18), _fit(draw, caption, title, room), fill=INK, font=title)
    sides = (
        (_MARGIN, f"BEFORE - {before_label}", MUTED, pair.before_faces),
        (_MARGIN + width + _GAP, f"AFTER - {after_label}", ACCENT, pair.after_faces),
    )
    for left, label, colour, faces in sides:
        top = _TITLE + height + 10
        draw.text((left, top), _fit(draw, label, text, width), fill=colour, font=text)
        draw.text((left, top + 20), _fit(draw, _values(faces), text, width), fill=INK, font=text)
    return picture


def _play(frames: tuple[Pixels, Pixels], poster: Image.Image, pane: tuple[int, int]) -> Pixels:
    """The poster with both videos put in, uint8 [T, H, W, 3]."""
    height, width = pane
    still = np.asarray(poster)
    film = np.repeat(still[None], len(frames[0]), axis=0)
    for left, clip in zip((_MARGIN, _MARGIN + width + _GAP), frames, strict=True):
        for index, frame in enumerate(clip):
            film[index, _TITLE : _TITLE + height, left : left + width] = _fit_into(frame, height, width)
    return film


def _fit_into(frame: Pixels, height: int, width: int) -> Pixels:
    """The whole frame scaled to fit, centred on the background."""
    scale = min(height / frame.shape[0], width / frame.shape[1])
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    scaled = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:] = BACKGROUND
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = scaled
    return canvas


def _values(faces: dict[str, Any]) -> str:
    shown = []
    for name, unit, digits in (("reward", "", 3), ("judge", "", 3), ("motion", "%", 1)):
        value = faces.get(name)
        shown.append(f"{name} {value:.{digits}f}{unit}" if isinstance(value, int | float) else f"{name} -")
    return "   ".join(shown)


def _fit(draw: ImageDraw.ImageDraw, text: str, font: Any, room: float) -> str:
    """The text, cut with an ellipsis where it is longer than `room` pixels."""
    plain = " ".join(text.split())
    if draw.textlength(plain, font=font) <= room:
        return plain
    while plain and draw.textlength(plain + "...", font=font) > room:
        plain = plain[:-1]
    return plain.rstrip() + "..."
