"""The small SVG pictures of a comparison's page: an interval on a line, before-to-after of every sample, similarity per
frame.

Colours come from the page's style sheet by class names, so that the pictures follow its light and dark form.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH = 320.0


def interval_bar(delta: float, low: float | None, high: float | None) -> str:
    """The change (dot) and its interval (bar) on a line with a mark at zero."""
    ends = [0.0, delta, *(end for end in (low, high) if end is not None)]
    reach = max(abs(end) for end in ends) * 1.15 or 1.0

    def x(value: float) -> float:
        return round(_WIDTH / 2 * (1 + value / reach), 2)

    bar = ""
    if low is not None and high is not None:
        bar = f'<line class="bar" x1="{x(low)}" x2="{x(high)}" y1="12" y2="12"/>'
    return (
        f'<svg class="interval" viewBox="0 0 {_WIDTH:g} 24" role="img" '
        'aria-label="interval of the change, zero in the middle">'
        f'<line class="axis" x1="0" x2="{_WIDTH:g}" y1="12" y2="12"/>'
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="3" y2="21"/>{bar}'
        f'<circle class="dot" cx="{x(delta)}" cy="12" r="5.5"/></svg>'
    )


def change_chart(rows: Sequence[tuple[str, float, float]], label: str, digits: int) -> str:
    """One line per sample from its value before (grey) to its value after (coloured).

    rows: (name, before, after), not empty.
    """
    values = [value for _, before, after in rows for value in (before, after)]
    lowest, highest = min(values), max(values)
    span = (highest - lowest) or 1.0
    left, right, pitch, top = 92.0, _WIDTH - 14.0, 22.0, 12.0

    def x(value: float) -> float:
        return round(left + (right - left) * (value - lowest) / span, 2)

    marks = []
    for index, (name, before, after) in enumerate(rows):
        y = top + pitch * index
        short = name if len(name) <= 13 else name[:12] + "\u2026"
        marks.append(
            f"<g><title>{escape(name)}: {before:.{digits}f} to {after:.{digits}f}</title>"
            f'<text class="name" x="0" y="{y + 4:g}">{escape(short)}</text>'
            f'<line class="axis" x1="{left:g}" x2="{right:g}" y1="{y:g}" y2="{y:g}"/>'
            f'<line class="move" x1="{x(before)}" x2="{x(after)}" y1="{y:g}" y2="{y:g}"/>'
            f'<circle class="was" cx="{x(before)}" cy="{y:g}" r="4.5"/>'
            f'<circle class="is" cx="{x(after)}" cy="{y:g}" r="5"/></g>'
        )
    bottom = top + pitch * len(rows)
    scale = (
        f'<text class="tick" x="{left:g}" y="{bottom + 4:g}">{lowest:.{digits}f}</text>'
        f'<text class="tick" x="{right:g}" y="{bottom + 4:g}" text-anchor="end">{highest:.{digits}f}</text>'
    )
    head = f'<svg viewBox="0 0 {_WIDTH:g} {bottom + 10:g}" role="img" aria-label="{escape(label)}">'
    return f"{head}{''.join(marks)}{scale}</svg>"


def similarity_chart(before: Sequence[float | None], after: Sequence[float | None]) -> str:
    """Face similarity per frame, before and after; gaps where no face was scored. '' when there is nothing to draw."""
    known = [value for value in (*before, *after) if value is not None]
    if not known:
        return ""
    lowest, highest = min(known), max(known)
    margin = max(0.02, 0.1 * (highest - lowest))
    lowest, highest = lowest - margin, highest + margin
    count = max(len(before), len(after))
    height = 72.0

    def path(series: Sequence[float | None]) -> str:
        steps, pen_down = [], False
        for index, value in enumerate(series):
            if value is None:
                pen_down = False
                continue
            x = _WIDTH * index / max(1, count - 1)
            y = height * (1 - (value - lowest) / (highest - lowest))
            steps.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
            pen_down = True
        return "".join(steps)

    return (
        '<figure class="frames"><figcaption>Face similarity per frame</figcaption>'
        f'<svg viewBox="0 -3 {_WIDTH:g} {height + 6:g}" role="img" '
        'aria-label="face similarity per frame, before and after">'
        f'<line class="axis" x1="0" x2="{_WIDTH:g}" y1="{height:g}" y2="{height:g}"/>'
        f'<path class="was" d="{path(before)}"/><path class="is" d="{path(after)}"/></svg></figure>'
    )
