"""Colours and small pieces of HTML of the widgets: as on the page, and readable on light and dark notebooks."""

from __future__ import annotations

import base64
from html import escape

from rewardfl_app.supervisor.run_state import RunState

# Before = grey, after = accent, judge = second accent, everywhere.
BEFORE, AFTER, JUDGE, BATCH = "#8a93a5", "#5b5bd6", "#0d9c8e", "#a5a5e8"
WARN, BAD, GOOD = "#c2700a", "#d0343c", "#1c8a52"
INK, GRID = "#697184", "rgba(128,136,152,.22)"
# Runs laid over each other: neighbours differ in hue and lightness.
RUNS = ("#2f6fde", "#c2410c", "#0f8a5f", "#a21caf", "#8a6d00", "#0e7c99", "#be123c", "#6d4bd8", "#4d7c0f", "#7c4a2d")

_STATE_COLOURS = {"completed": GOOD, "failed": BAD, "lost": BAD, "paused": WARN, "stopped": BEFORE, "queued": BEFORE}


def state_colour(state: str) -> str:
    """The colour of a state's word and bar."""
    return _STATE_COLOURS.get(state, AFTER)


def duration(seconds: float) -> str:
    """40 s, 3 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def progress(state: RunState) -> str:
    """step 12 of 50, about 40 s left."""
    told = f"step {state.step} of {state.total}" if state.total else "no step yet"
    left = "" if state.is_finished or not state.seconds_left else f", about {duration(state.seconds_left)} left"
    return told + left


def pill(state: str) -> str:
    """A state as a coloured word."""
    colour = state_colour(state)
    return (
        f'<span style="color:{colour};border:1px solid {colour};border-radius:99px;padding:1px 9px;'
        f'font-size:12px;font-weight:600">{escape(state)}</span>'
    )


def note(text: str, colour: str = INK) -> str:
    """A sentence in a quiet or a telling colour."""
    return f'<div style="color:{colour};line-height:1.45;font-size:13px">{escape(text)}</div>'


def data_address(kind: str, content: bytes) -> str:
    """The content as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
