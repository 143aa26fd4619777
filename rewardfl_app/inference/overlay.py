"""A scored video with its faces marked: box, landmarks and similarity on each face, the similarity curve underneath."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rewardfl_app.data.image import Pixels
from rewardfl_app.inference import colours
from rewardfl_app.inference.colours import Colour
from rewardfl_app.inference.similarity_strip import SimilarityStrip

_SMALLEST_SIDE = 320  # smaller videos are enlarged, or no text would fit
_FINER = 3


class Overlay:
    """Draws the frames of one clip. `report` is the content of faces.json, its boxes in pixels of the clip.

    `size` is (height, width) of what `draw` returns; both are even.
    """

    def __init__(self, report: Mapping[str, Any]) -> None:
        height, width = int(report["height"]), int(report["width"])
        self._frames = report["frames"]
        self._unlike = {track["track"] for track in report["tracks"] if track.get("unlike")}
        self._several = len({t["identity"] for t in report["tracks"] if t["identity"] is not None}) > 1
        self._scale = max(1, math.ceil(_SMALLEST_SIDE / min(height, width)))
        self._picture = (width * self._scale, height * self._scale)
        self._unit = max(1.0, (min(self._picture) / 352) ** 0.75)
        self._strip = SimilarityStrip(report, self._picture[0] + self._picture[0] % 2, self._unit)
        total = self._picture[1] + self._strip.height
        self.size = (total + total % 2, self._strip.width)
        self._font = ImageFont.load_default(round(15 * self._unit))

    def draw(self, pixels: Pixels, frame: int) -> Pixels:
        """Frame number `frame` (from 0), uint8 [H, W, 3], with all that was found in it."""
        picture = Image.fromarray(pixels)
        if self._scale > 1:
            picture = picture.resize(self._picture, Image.Resampling.BICUBIC)
        faces = self._frames[frame]["faces"]
        # The best known are drawn last, over those who only stand by.
        for face in sorted(faces, key=lambda face: face["similarity"] or -1.0):
            self._mark(picture, face)
        if not faces:
            self._no_face(picture)
        canvas = Image.new("RGB", (self.size[1], self.size[0]), colours.BACKGROUND)
        canvas.paste(picture, (0, 0))
        canvas.paste(self._strip.draw(frame), (0, self._picture[1]))
        return np.asarray(canvas)

    def _mark(self, picture: Image.Image, face: Mapping[str, Any]) -> None:
        colour, unit = colours.person(face["identity"]), self._unit
        box = [value * self._scale for value in face["bbox"]]
        known = face["identity"] is not None
        thick = (2.4 if known else 1.6) * unit
        patch = _Patch(picture, box, 5 * unit)
        round_by = min(9 * unit, 0.18 * min(box[2] - box[0], box[3] - box[1]))
        patch.rounded(box, round_by, thick + 1.4 * unit, (0, 0, 0, 90))
        patch.rounded(box, round_by, thick, (*colour, 255))
        dot = min(2.2 * unit, max(0.8 * unit, 0.02 * (box[2] - box[0])))
        for x, y in face["landmarks"]:
            patch.disc(x * self._scale, y * self._scale, dot + 0.9 * unit, (0, 0, 0, 120))
            patch.disc(x * self._scale, y * self._scale, dot, (255, 255, 255, 235))
        patch.paste()
        self._label(picture, box, self._texts(face), unit)

    def _texts(self, face: Mapping[str, Any]) -> list[tuple[str, Colour]]:
        if face["identity"] is None:
            return [("someone else", colours.BYSTANDER)]
        doubt = "?" if face["track"] in self._unlike else ""  # there for their place alone
        name = f"{face['identity'] + 1}{doubt}: " if self._several else doubt and f"{doubt} "
        texts = [(name + ("-" if face["similarity"] is None else f"{face['similarity']:.2f}"), _colour(face))]
        if face["judge_similarity"] is not None:
            texts.append((f"{face['judge_similarity']:.2f}", colours.JUDGE))
        return texts

    def _label(self, picture: Image.Image, box: list[float], texts: list[tuple[str, Colour]], unit: float) -> None:
        """Pills in a row above the box, or below or inside it where there is no room above."""
        height = 21 * unit
        widths = [self._font.getlength(text) + 14 * unit for text, _ in texts]
        total = sum(widths) + 4 * unit * (len(texts) - 1)
        left = min(max(box[0] - 1.2 * unit, 2 * unit), picture.width - total - 2 * unit)
        top = box[1] - height - 5 * unit
        if top < 2 * unit:
            below = box[3] + 5 * unit
            top = below if below + height < picture.height - 2 * unit else max(2 * unit, box[1] + 5 * unit)
        for (text, colour), width in zip(texts, widths, strict=True):
            _pill(picture, (left, top, left + width, top + height), text, self._font, colour)
            left += width + 4 * unit

    def _no_face(self, picture: Image.Image) -> None:
        width, height = self._font.getlength("no face") + 22 * self._unit, 25 * self._unit
        left, top = (picture.width - width) / 2, 14 * self._unit
        _pill(picture, (left, top, left + width, top + height), "no face", self._font, colours.WARNING)


class _Patch:
    """A part of the picture that is drawn on finer than it is and averaged back, so that edges are smooth."""

    def __init__(self, picture: Image.Image, box: list[float], margin: float) -> None:
        left, top = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
        right = min(picture.width, math.ceil(box[2] + margin))
        bottom = min(picture.height, math.ceil(box[3] + margin))
        self._place = (left, top)
        self._target = picture
        self._size = (max(1, right - left), max(1, bottom - top))
        # Where the strokes are wide, the steps at their edges are fine enough without.
        self._fine = _FINER if self._size[0] * self._size[1] < 10**6 else 1
        self._layer = Image.new("RGBA", (self._size[0] * self._fine, self._size[1] * self._fine))
        self._draw = ImageDraw.Draw(self._layer)

    def rounded(self, box: list[float], radius: float, thick: float, colour: tuple[int, int, int, int]) -> None:
        outer = [coordinate + (-thick if n < 2 else thick) / 2 for n, coordinate in enumerate(box)]
        x0, y0, x1, y1 = ((v - self._place[n % 2]) * self._fine for n, v in enumerate(outer))
        width = max(1, round(thick * self._fine))
        if x1 - x0 > 2 * width and y1 - y0 > 2 * width:
            self._draw.rounded_rectangle((x0, y0, x1, y1), radius * self._fine, outline=colour, width=width)
        else:
            self._draw.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour)

    def disc(self, x: float, y: float, radius: float, colour: tuple[int, int, int, int]) -> None:
        x, y, radius = (x - self._place[0]) * self._fine, (y - self._place[1]) * self._fine, radius * self._fine
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def paste(self) -> None:
        layer = self._layer if self._fine == 1 else self._layer.resize(self._size, Image.Resampling.BOX)
        self._target.paste(layer.convert("RGB"), self._place, layer.getchannel("A"))


def _pill(picture: Image.Image, box: tuple[float, float, float, float], text: str, font: Any, colour: Colour) -> None:
    """Dark text on a rounded field of the colour."""
    left, top, right, bottom = (round(value) for value in box)
    width, height = right - left, bottom - top
    mask = Image.new("L", (width * _FINER, height * _FINER))
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, width * _FINER - 1, height * _FINER - 1), 0.32 * height * _FINER, fill=255
    )
    picture.paste(
        Image.new("RGB", (width, height), colour), (left, top), mask.resize((width, height), Image.Resampling.BOX)
    )
    middle = (left + width / 2, top + height / 2)
    ImageDraw.Draw(picture).text(middle, text, fill=colours.BACKGROUND, font=font, anchor="mm")


def _colour(face: Mapping[str, Any]) -> Colour:
    return colours.person(face["identity"])
