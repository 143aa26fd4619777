"""Planned memory as a picture: a bar for each phase of a run, and the memory that there is."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

from rewardfl_app.api.checking import Checked
from rewardfl_app.notebook import style
from rewardfl_app.planning.memory_check import Verdict
from rewardfl_app.planning.memory_side import Side

_FINE = 2  # pixels for one unit
_WIDTH, _LABEL, _NUMBER, _BAR, _ROW, _HEAD, _FOOT, _SPACE = 560, 176, 58, 15, 21, 50, 14, 24
_INK, _QUIET, _PAPER, _TRACK = "#2b3140", "#697184", "#ffffff", "#eef0f4"
_STAYS, _PASSES = style.AFTER, style.BATCH


def memory_bars(checked: Mapping[str, Checked], columns: int = 2) -> Image.Image:
    """The phases of each plan, by title: what stays from loading on, what comes and goes, and the usable memory."""
    plans = {title: each.memory for title, each in checked.items() if each.memory is not None}
    rows = -(-len(plans) // columns)
    height = _HEAD + _ROW * max((len(each.plan.phases) for each in plans.values()), default=0) + _FOOT
    size = (columns * (_WIDTH + _SPACE) + _SPACE, rows * (height + _SPACE) + _SPACE + 24)
    picture = Image.new("RGB", (size[0] * _FINE, size[1] * _FINE), _PAPER)
    draw = ImageDraw.Draw(picture)
    _legend(draw, size[1] - 28)
    for place, (title, verdict) in enumerate(plans.items()):
        left = _SPACE + place % columns * (_WIDTH + _SPACE)
        _panel(draw, left, _SPACE + place // columns * (height + _SPACE), title, verdict)
    return picture.quantize(64)


def _panel(draw: ImageDraw.ImageDraw, left: int, top: int, title: str, verdict: Verdict) -> None:
    phases = verdict.plan.phases
    side = Side(verdict.plan, verdict.machine, of_device=verdict.plan.on_gpu)
    usable = side.usable
    room, start = _WIDTH - _LABEL - _NUMBER, left + _LABEL
    scale = room / max(side.most, usable or 0.0)
    _text(draw, left, top, title, 16, _INK)
    fits = {True: "fits", False: "does not fit", None: "not known"}[verdict.fits]
    colour = {True: style.GOOD, False: style.BAD, None: _QUIET}[verdict.fits]
    where = "each GPU" if side.of_device else "machine"
    told = f"{side.most:.1f} GB" + ("" if usable is None else f" of {usable:.1f} usable") + f", {where}: {fits}"
    _text(draw, left, top + 24, told, 13, colour)
    for number, phase in enumerate(phases):
        y, size = top + _HEAD + number * _ROW, side.of(phase)
        _text(draw, left, y, phase.name, 12, _INK)
        _box(draw, start, y, room, _TRACK)
        _box(draw, start, y, size * scale, _PASSES)
        _box(draw, start, y, side.kept(phase) * scale, _STAYS)
        _text(draw, start + room + 8, y, f"{size:.1f} GB" if size < 100 else f"{size:.0f} GB", 12, _INK)
    if usable is not None:
        x, bottom = (start + usable * scale) * _FINE, (top + _HEAD + len(phases) * _ROW) * _FINE
        draw.line([(x, (top + _HEAD - 5) * _FINE), (x, bottom)], fill=style.BAD, width=2 * _FINE)


def _legend(draw: ImageDraw.ImageDraw, top: int) -> None:
    left = _SPACE
    for colour, text in (
        (_STAYS, "stays in memory (weights, moments)"),
        (_PASSES, "comes and goes (activations, gradients, encoders)"),
        (style.BAD, "usable memory"),
    ):
        draw.rectangle([value * _FINE for value in (left, top + 2, left + 12, top + 12)], fill=colour)
        _text(draw, left + 18, top, text, 12, _QUIET)
        left += 44 + round(ImageFont.load_default(12).getlength(text))


def _box(draw: ImageDraw.ImageDraw, left: float, top: float, width: float, colour: str) -> None:
    if width > 0:
        draw.rectangle([value * _FINE for value in (left, top, left + width, top + _BAR)], fill=colour)


def _text(draw: ImageDraw.ImageDraw, left: float, top: float, text: str, size: int, colour: str) -> None:
    draw.text((left * _FINE, top * _FINE), text, fill=colour, font=ImageFont.load_default(size * _FINE))
