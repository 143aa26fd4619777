"""A plotly figure of lines as a still PNG, for pages that show a notebook without running it.

Plotly itself needs a browser for that.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageColor, ImageDraw, ImageFont

_WIDTH, _HEIGHT = 1100, 500
_FINER = 1.5  # pixels for one unit
_DRAWN = 3  # lines are drawn at so many and averaged, which makes them smooth
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 64, 34
_INK, _GRID, _PAPER = "#565f72", "#e4e7ed", "#ffffff"

Place = Callable[[float, float], tuple[float, float]]


def png(figure: Any) -> bytes:
    """The scatter traces of a figure in their subplots, with titles, axes and legend."""
    picture = Image.new("RGB", (_WIDTH * _DRAWN, _HEIGHT * _DRAWN), _PAPER)
    layout = figure.to_plotly_json()["layout"]
    traces = [trace.to_plotly_json() for trace in figure.data]
    words: list[tuple[tuple[float, float], str, str, str, int]] = []
    for title in layout.get("annotations", []):
        x, y = _on_paper(title["x"], title["y"])
        words.append(((x, y - 10), str(title["text"]), _INK, "ms", 13))
    for axis in sorted({str(trace.get("xaxis") or "x") for trace in traces}):
        own = [trace for trace in traces if str(trace.get("xaxis") or "x") == axis and len(trace["x"])]
        number = axis[1:]
        _draw_chart(picture, layout[f"xaxis{number}"]["domain"], layout[f"yaxis{number}"]["domain"], own, words)
    words += _legend(picture, traces)
    small = picture.resize((round(_WIDTH * _FINER), round(_HEIGHT * _FINER)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(small)
    for (x, y), text, colour, anchor, size in words:
        plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        font = ImageFont.load_default(size * _FINER)
        draw.text((x * _FINER, y * _FINER), plain, fill=colour, font=font, anchor=anchor)
    written = io.BytesIO()
    small.quantize(128).save(written, "PNG", optimize=True)
    return written.getvalue()


def _on_paper(x: float, y: float) -> tuple[float, float]:
    """From shares of the plot area, from below, to units from above."""
    return _LEFT + x * (_WIDTH - _LEFT - _RIGHT), _TOP + (1 - y) * (_HEIGHT - _TOP - _BOTTOM)


def _draw_chart(
    picture: Image.Image, across: Sequence[float], upward: Sequence[float], traces: list[dict[str, Any]], words: list
) -> None:
    (left, bottom), (right, top) = _on_paper(across[0], upward[0]), _on_paper(across[1], upward[1])
    xs = [float(x) for trace in traces for x in trace["x"]] or [0.0, 1.0]
    ys = [float(y) for trace in traces for y in trace["y"]] or [0.0, 1.0]
    last = max(*xs, 1.0)
    air = (max(ys) - min(ys)) * 0.08 or abs(max(ys)) * 0.1 or 0.5
    low, high = min(ys) - air, max(ys) + air

    def place(x: float, y: float) -> tuple[float, float]:
        scaled = left + (right - left) * x / last, bottom - (bottom - top) * (y - low) / (high - low)
        return scaled[0] * _DRAWN, scaled[1] * _DRAWN

    draw = ImageDraw.Draw(picture)
    for y in _ticks(low, high, 5):
        draw.line([place(0, y), place(last, y)], fill=_GRID, width=_DRAWN)
        words.append(((left - 6, place(0, y)[1] / _DRAWN), f"{y:.6g}", _INK, "rm", 11))
    for x in _ticks(0, last, 6):
        words.append(((place(x, low)[0] / _DRAWN, bottom + 6), f"{x:.6g}", _INK, "ma", 11))
    for trace in traces:
        if trace.get("fill") == "toself":
            _draw_band(picture, trace, place)
    for trace in traces:
        if trace.get("fill") != "toself":
            _draw_line(ImageDraw.Draw(picture), trace, place)


def _draw_band(picture: Image.Image, trace: dict[str, Any], place: Place) -> None:
    red, green, blue, share = re.findall(r"[\d.]+", trace["fillcolor"])
    corners = [place(float(x), float(y)) for x, y in zip(trace["x"], trace["y"], strict=True)]
    if len(corners) > 2:
        left, top = (math.floor(min(corner[axis] for corner in corners)) for axis in (0, 1))
        width, height = (math.ceil(max(corner[axis] for corner in corners)) - (left, top)[axis] for axis in (0, 1))
        over = Image.new("L", (width + 1, height + 1), 0)
        shifted = [(x - left, y - top) for x, y in corners]
        ImageDraw.Draw(over).polygon(shifted, fill=round(255 * float(share)))
        picture.paste((int(red), int(green), int(blue)), (left, top), over)


def _draw_line(draw: ImageDraw.ImageDraw, trace: dict[str, Any], place: Place) -> None:
    line, fine = trace["line"], _DRAWN
    colour = ImageColor.getrgb(line["color"])
    corners = [place(float(x), float(y)) for x, y in zip(trace["x"], trace["y"], strict=True)]
    width = round(line["width"] * fine)
    if line.get("dash"):
        (x, y), (end, _) = corners[0], corners[-1]
        while x < end:
            draw.line([(x, y), (min(x + 6 * fine, end), y)], fill=colour, width=width)
            x += 11 * fine
        return
    draw.line(corners, fill=colour, width=width, joint="curve")
    if "markers" in trace["mode"]:
        radius = trace["marker"]["size"] / 2 * fine
        for x, y in corners:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _legend(picture: Image.Image, traces: list[dict[str, Any]]) -> list[Any]:
    words, x, fine = [], float(_LEFT), _DRAWN
    font = ImageFont.load_default(12)
    for trace in traces:
        if trace.get("showlegend"):
            colour = trace["line"]["color"]
            ImageDraw.Draw(picture).line([(x * fine, 20 * fine), ((x + 22) * fine, 20 * fine)], colour, 3 * fine)
            words.append(((x + 28, 20), str(trace["name"]), _INK, "lm", 12))
            x += 50 + font.getlength(str(trace["name"]))
    return words


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= rough)
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]
