"""Paired changes: the same videos before and after, and how sure their mean difference is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
METHOD = "paired differences per sample; Student's t interval of their mean"
# Student's t for a two-sided 95% interval, by degrees of freedom 1, 2, ...
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_Z95 = 1.959964
_LARGEST = 1e100


@dataclass(frozen=True)
class Change:
    """Mean change of a measure over the pairs in which both sides have it.

    low and high bound the mean change with 95% confidence (Student's t over pairs); None with a single pair.
    """

    before: float
    after: float
    delta: float
    low: float | None
    high: float | None
    num_pairs: int

    @property
    def direction(self) -> int:
        """1 or -1 when the interval lies wholly above or below zero, 0 when it does not tell."""
        if self.low is None or self.high is None or self.low <= 0.0 <= self.high:
            return 0
        return 1 if self.low > 0.0 else -1


def number(value: object) -> float | None:
    """The value if it is a number that can be reckoned with (finite, and its square is, too), else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        return None
    return float(value)


def mean(values: Sequence[object]) -> float | None:
    """Mean of those that are finite numbers; None when there are none."""
    known = [value for value in map(number, values) if value is not None]
    return math.fsum(known) / len(known) if known else None


def mean_change(before: Sequence[object], after: Sequence[object]) -> Change | None:
    """Paired change of a measure, over the pairs where both values are finite numbers; None when there are none."""
    values = zip(map(number, before), map(number, after), strict=True)
    both = [(b, a) for b, a in values if b is not None and a is not None]
    if not both:
        return None
    count = len(both)
    mean_before = math.fsum(b for b, _ in both) / count
    mean_after = math.fsum(a for _, a in both) / count
    deltas = [a - b for b, a in both]
    delta = math.fsum(deltas) / count
    if count == 1:
        return Change(mean_before, mean_after, delta, None, None, count)
    deviation = math.sqrt(math.fsum((d - delta) ** 2 for d in deltas) / (count - 1))
    margin = _t95(count - 1) * deviation / math.sqrt(count)
    return Change(mean_before, mean_after, delta, delta - margin, delta + margin, count)


def _t95(degrees: int) -> float:
    """Two-sided 95% quantile of Student's t; beyond the table by its expansion around the normal one (error below
    1e-4).
    """
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    return _Z95 + (_Z95**3 + _Z95) / (4 * degrees) + (5 * _Z95**5 + 16 * _Z95**3 + 3 * _Z95) / (96 * degrees**2)
