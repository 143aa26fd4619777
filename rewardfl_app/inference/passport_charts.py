"""The curves of a passport as SVG: lines over the steps with their 95% intervals, the base model's level, marks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 520.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 8.0, 22.0
_MAX_POINTS = 600


@dataclass(frozen=True)
class Point:
    """A value at a step, with the ends of its interval where there is one."""

    step: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A line: its name, the class of the style sheet that colours it, its points by step; `dots` are drawn or not."""

    label: str
    kind: str
    points: Sequence[Point]
    dots: bool = False


def chart(lines: Sequence[Line], label: str, mark: int | None = None, alarm: int | None = None) -> str:
    """The picture, "" when no line has a point. mark: the step that the passport is about. alarm: where one began."""
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    values = [v for line in lines for p in line.points for v in (p.value, p.low, p.high) if v is not None]
    low, high = min(values), max(values)
    air = (high - low) * 0.08 or abs(high) * 0.1 or 0.5
    low, high = low - air, high + air
    last = max(1.0, *(line.points[-1].step for line in lines))

    def x(step: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last, 1)

    def y(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low), 1)

    parts = [
        f'<line class="grid" x1="{_LEFT:g}" x2="{_WIDTH - _RIGHT:g}" y1="{y(v)}" y2="{y(v)}"/>'
        f'<text x="{_LEFT - 6:g}" y="{y(v) + 4}" text-anchor="end">{_short(v)}</text>'
        for v in _ticks(low, high, 4)
    ]
    parts += [
        f'<text x="{x(v)}" y="{_HEIGHT - 5:g}" text-anchor="middle">{_short(v)}</text>'
        for v in _ticks(0, last, 6, whole=True)
    ]
    for step, kind, what in ((alarm, "alarm", "the alarm began"), (mark, "mark", "this passport")):
        if step is not None:
            parts.append(
                f'<line class="{kind}" x1="{x(step)}" x2="{x(step)}" y1="{_TOP:g}" y2="{_HEIGHT - _BOTTOM:g}">'
                f"<title>step {step}: {what}</title></line>"
            )
    for line in lines:
        parts += _line(line, x, y)
    head = f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{escape(label, quote=True)}">'
    return head + "".join(parts) + "</svg>"


def _line(line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    points = _thinned(line.points)
    sure = [(x(p.step), y(p.low), y(p.high)) for p in points if p.low is not None and p.high is not None]
    parts = []
    if len(sure) > 1:
        edge = [f"{at} {low}" for at, low, _ in sure] + [f"{at} {high}" for at, _, high in reversed(sure)]
        parts.append(f'<path class="band {line.kind}" d="M{"L".join(edge)}Z"/>')
    elif sure:
        at, low, high = sure[0]
        parts.append(f'<line class="whisker {line.kind}" x1="{at}" x2="{at}" y1="{low}" y2="{high}"/>')
    path = "L".join(f"{x(p.step)} {y(p.value)}" for p in points)
    parts.append(f'<path class="line {line.kind}" d="M{path}"/>')
    if line.dots or len(points) == 1:
        parts += [f'<circle class="{line.kind}" cx="{x(p.step)}" cy="{y(p.value)}" r="3"/>' for p in points]
    return parts


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most about _MAX_POINTS: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= _MAX_POINTS:
        return list(points)
    width = math.ceil(len(points) / (_MAX_POINTS // 2))
    kept: list[Point] = [points[0]]
    for start in range(0, len(points), width):
        part = points[start : start + width]
        ends = {min(part, key=lambda p: p.value).step, max(part, key=lambda p: p.value).step}
        kept += [point for point in part if point.step in ends]
    return [*kept, points[-1]]


def _ticks(low: float, high: float, wanted: int, whole: bool = False) -> list[float]:
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((k * power for k in (1, 2, 5, 10) if k * power >= rough), rough)
    if whole:
        step = max(1.0, round(step))
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")
