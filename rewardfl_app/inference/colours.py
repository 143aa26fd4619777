"""The colours of the videos written here: those of the page's dark theme, and the ramp of the heat map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

BACKGROUND: Colour = (13, 16, 23)
CARD: Colour = (21, 25, 34)
LINE: Colour = (45, 52, 66)
INK: Colour = (233, 236, 243)
MUTED: Colour = (167, 175, 192)
JUDGE: Colour = (44, 199, 181)
WARNING: Colour = (240, 171, 84)
BYSTANDER: Colour = (141, 150, 168)
# The people of the reference in their order; the first has the accent, as the curve on the page. Teal is the judge's.
_PEOPLE: tuple[Colour, ...] = ((144, 144, 247), (255, 140, 105), (244, 201, 83), (238, 120, 190), (92, 190, 255))
# Black, violet, magenta, orange, pale yellow: equal steps look equally bright, as in matplotlib's magma.
_RAMP: tuple[Colour, ...] = (
    (0, 0, 0), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
    (254, 194, 135), (252, 253, 191),
)  # fmt: skip


def person(identity: int | None) -> Colour:
    """The colour of a person of the reference; grey for someone who is not in it."""
    return BYSTANDER if identity is None else _PEOPLE[identity % len(_PEOPLE)]


def heat(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Values [...] in [0, 1] (clamped here) as RGB [..., 3]; 0 is black, so that nothing is added on a screen."""
    return _TABLE[(np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)]


def _table() -> NDArray[np.uint8]:
    stops = np.array(_RAMP, dtype=np.float64)
    places = np.linspace(0.0, 1.0, len(stops))
    levels = np.linspace(0.0, 1.0, 256)
    return np.stack([np.interp(levels, places, stops[:, channel]) for channel in range(3)], 1).round().astype(np.uint8)


_TABLE = _table()
