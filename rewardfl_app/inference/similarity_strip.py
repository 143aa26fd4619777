"""The strip under a scored video: every person's similarity over the clip, the judge's, and where the clip now is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rewardfl_app.inference import colours
from rewardfl_app.inference.colours import Colour

_FINER = 3  # lines are drawn so much larger and averaged, which makes them smooth
_MARGIN, _HEADER, _PLOT, _BELOW = 14, 30, 54, 14  # in units


class SimilarityStrip:
    """Drawn once for a clip; each frame adds the playhead and its numbers.

    `report` is the content of faces.json; `unit` is the size in pixels of what would be one pixel on a small video.
    """

    def __init__(self, report: Mapping[str, Any], width: int, unit: float) -> None:
        self._unit = unit
        self._fps = float(report["fps"] or 0.0)
        self._num_frames = max(1, len(report["frames"]))
        self._curves = curves(report)
        self.height = round((_HEADER + _PLOT + _BELOW) * unit)
        self.width = width
        self._left, self._right = _MARGIN * unit, width - _MARGIN * unit
        self._top, self._bottom = _HEADER * unit, (_HEADER + _PLOT) * unit
        self._font = ImageFont.load_default(round(13 * unit))
        self._faceless = set(report["faceless_frames"])
        self._base = self._background()

    def draw(self, frame: int) -> Image.Image:
        """The strip while `frame` (from 0) is shown."""
        picture = self._base.copy()
        draw = ImageDraw.Draw(picture)
        x = self._x(frame)
        half = max(0.5, 0.75 * self._unit)
        draw.rectangle((x - half, self._top - 4 * self._unit, x + half, self._bottom), fill=colours.INK)
        for colour, series in self._curves:
            if (value := series[frame]) is not None:
                _dot(picture, x, self._y(value), 4.2 * self._unit, colour)
        self._header(draw, frame)
        return picture

    def _header(self, draw: ImageDraw.ImageDraw, frame: int) -> None:
        middle = _HEADER * self._unit / 2 + self._unit
        seconds = f"  {frame / self._fps:.2f} s" if self._fps > 0 else ""
        place = f"frame {frame}{seconds}"
        draw.text((self._right, middle), place, fill=colours.MUTED, font=self._font, anchor="rm")
        end = self._right - draw.textlength(place, font=self._font) - 12 * self._unit
        x = self._left
        for word, colour in self._words(frame):
            length = draw.textlength(word, font=self._font)
            if x + length > end:
                return
            draw.text((x, middle), word, fill=colour, font=self._font, anchor="lm")
            x += length + 7 * self._unit

    def _words(self, frame: int) -> list[tuple[str, Colour]]:
        if frame in self._faceless:
            return [("no face", colours.WARNING)]
        words: list[tuple[str, Colour]] = [("similarity", colours.MUTED)]
        for colour, series in self._curves:
            value = series[frame]
            if colour == colours.JUDGE and value is not None:
                words += [("judge", colours.MUTED), (f"{value:.2f}", colour)]
            elif colour != colours.JUDGE:
                words.append(("-" if value is None else f"{value:.2f}", colour))
        return words

    def _background(self) -> Image.Image:
        size = (self.width * _FINER, self.height * _FINER)
        picture = Image.new("RGB", size, colours.BACKGROUND)
        draw = ImageDraw.Draw(picture)
        fine = self._unit * _FINER
        left, right = self._left * _FINER, self._right * _FINER
        top, bottom = self._top * _FINER, self._bottom * _FINER
        draw.rounded_rectangle((left - 4 * fine, top - 4 * fine, right + 4 * fine, bottom), 5 * fine, colours.CARD)
        for value in (0.0, 0.5, 1.0):
            y = self._y(value) * _FINER
            draw.line((left, y, right, y), fill=colours.LINE, width=max(1, round(0.8 * fine)))
        step = (right - left) / self._num_frames
        for frame in sorted(self._faceless):
            x = left + frame * step
            draw.rectangle((x, bottom + 3 * fine, x + max(step, fine), bottom + 6 * fine), fill=colours.WARNING)
        for colour, series in reversed(self._curves):
            for line in _stretches(series):
                points = self._thinned(line)
                if len(points) == 1:
                    _disc(draw, *points[0], 1.4 * fine, colour)
                else:
                    draw.line(points, fill=colour, width=max(2, round(1.8 * fine)), joint="curve")
        return picture.resize((self.width, self.height), Image.Resampling.BOX)

    def _thinned(self, line: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
        """A stretch of the curve as points of the fine picture, at most about one per pixel of the strip."""
        group = max(1, int(self._num_frames / max(1.0, self._right - self._left)))
        means = [np.mean(line[n : n + group], axis=0) for n in range(0, len(line), group)]
        return [(self._x(float(frame)) * _FINER, self._y(float(value)) * _FINER) for frame, value in means]

    def _x(self, frame: float) -> float:
        return self._left + (self._right - self._left) * (frame + 0.5) / self._num_frames

    def _y(self, value: float) -> float:
        inset = 3 * self._unit
        return self._bottom - inset - (self._bottom - self._top - 2 * inset) * min(max(value, 0.0), 1.0)


def curves(report: Mapping[str, Any]) -> list[tuple[Colour, list[float | None]]]:
    """Per person the similarity in each frame with its colour, then the judge's to the first person where it is."""
    people = sorted({t["identity"] for t in report["tracks"] if t["identity"] is not None})
    found = [(colours.person(who), [_value(frame, who, "similarity") for frame in report["frames"]]) for who in people]
    judged = [_value(frame, people[0] if people else None, "judge_similarity") for frame in report["frames"]]
    if any(value is not None for value in judged):
        found.append((colours.JUDGE, judged))
    return found


def _value(frame: Mapping[str, Any], who: int | None, name: str) -> float | None:
    values = [face[name] for face in frame["faces"] if face["identity"] == who and face[name] is not None]
    return float(max(values)) if values else None


def _stretches(series: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """The parts of a curve between the frames that have no value."""
    parts: list[list[tuple[int, float]]] = [[]]
    for frame, value in enumerate(series):
        if value is not None:
            parts[-1].append((frame, value))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _dot(picture: Image.Image, x: float, y: float, radius: float, colour: Colour) -> None:
    """A disc with a bright rim whose edge is smooth."""
    side = int(2 * radius + 4)
    left, top = int(x - side / 2), int(y - side / 2)
    patch = picture.crop((left, top, left + side, top + side)).resize((side * _FINER, side * _FINER))
    draw = ImageDraw.Draw(patch)
    centre = ((x - left) * _FINER, (y - top) * _FINER)
    _disc(draw, *centre, radius * _FINER, colours.INK)
    _disc(draw, *centre, 0.66 * radius * _FINER, colour)
    picture.paste(patch.resize((side, side), Image.Resampling.BOX), (left, top))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
