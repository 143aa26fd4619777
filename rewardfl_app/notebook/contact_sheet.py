"""Frames of videos as one still PNG, row by row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_SPACE, _WIDE, _HEAD, _CAPTION = 4, 20, 34, 24  # pixels
_INK, _PAPER = "#565f72", "#ffffff"


@dataclass(frozen=True)
class Block:
    """Frames of one video under a caption."""

    caption: str
    frames: Sequence[Image.Image]


def png(rows: Sequence[Sequence[Block]], heads: Sequence[tuple[str, str]] = ()) -> bytes:
    """Each row has its blocks beside each other. heads: (text, colour) over the blocks of the first row."""
    head = _HEAD if heads else 0
    height = max(block.frames[0].height for row in rows for block in row) + _CAPTION + _SPACE
    width = max(sum(_width(block) + _WIDE for block in row) for row in rows) + _WIDE
    sheet = Image.new("RGB", (width, head + height * len(rows) + _SPACE), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title, text = ImageFont.load_default(18), ImageFont.load_default(14)
    for place, row in enumerate(rows):
        left, top = _WIDE, head + place * height
        for index, block in enumerate(row):
            if place == 0 and index < len(heads):
                draw.text((left, head - 10), heads[index][0], fill=heads[index][1], font=title, anchor="ls")
            for number, frame in enumerate(block.frames):
                sheet.paste(frame, (left + number * (frame.width + _SPACE), top))
            caption = _fitted(draw, block.caption, text, _width(block))
            draw.text((left, top + block.frames[0].height + 4), caption, fill=_INK, font=text)
            left += _width(block) + _WIDE
    written = io.BytesIO()
    sheet.quantize(256).save(written, "PNG", optimize=True)
    return written.getvalue()


def _width(block: Block) -> int:
    return sum(frame.width + _SPACE for frame in block.frames) - _SPACE


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int) -> str:
    if draw.textlength(text, font=font) <= room:
        return text
    while text and draw.textlength(f"{text}…", font=font) > room:
        text = text[:-1]
    return f"{text.rstrip()}…"
