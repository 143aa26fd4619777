"""What a run measured, as the points of curves: read on as metrics.jsonl grows, thinned to what can be seen."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardfl_app.runs.change import number
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonlines import Record
from rewardfl_app.runs.metrics import MetricsReader, is_evaluation

MAX_POINTS = 1000  # of a curve that is drawn

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """A curve: steps, values, and the ends of their 95% intervals (NaN where there is none)."""

    steps: Numbers
    values: Numbers
    lows: Numbers
    highs: Numbers


class Measures:
    """The curves of one run by their names in metrics.jsonl. Call `read`, then ask."""

    def __init__(self, run: RunFolder, names: Sequence[str]) -> None:
        self._reader = MetricsReader(run.metrics)
        self._restarts = 0
        self._names = tuple(dict.fromkeys(names))
        self._forget_all()

    def read(self) -> bool:
        """Read what was written since; whether there was anything."""
        new = self._reader.read_new()
        restarted = self._reader.restarts != self._restarts
        if restarted:
            self._restarts = self._reader.restarts
            self._forget_all()
        for record in new:
            if isinstance(record.get("step"), int):
                self._add(record["step"], record)
        return bool(new) or restarted

    def points(self, name: str) -> Points:
        """The curve of a value, at most about MAX_POINTS of it; empty while it was not measured."""
        steps, values, lows, highs = (np.array(column) for column in self._columns[name])
        kept = _thinned(steps, values)
        return Points(steps[kept], values[kept], lows[kept], highs[kept])

    def before(self, name: str) -> float | None:
        """The base model's value of an evaluated measure; None where it was not measured."""
        return self._before.get(name)

    @property
    def last_step(self) -> float:
        """The last step of all curves, 0 without any."""
        return max((steps[-1] for steps, *_ in self._columns.values() if steps), default=0.0)

    def _forget_all(self) -> None:
        self._before: dict[str, float] = {}
        self._columns: dict[str, tuple[array[float], ...]] = {
            name: tuple(array("d") for _ in range(4)) for name in self._names
        }

    def _add(self, step: int, record: Record) -> None:
        evaluated = is_evaluation(record)
        # A resumed run writes some steps again: the later writing counts, as in `runs.metrics.current`.
        for name, columns in self._columns.items():
            stays = evaluated and not name.startswith("eval/")
            first = (bisect_right if stays else bisect_left)(columns[0], step)
            for column in columns:
                del column[first:]
            value = number(record.get(name))
            if value is None:
                continue
            before, low, high = (number(record.get(name + part)) for part in ("_baseline", "_gain_low", "_gain_high"))
            if evaluated and (before is not None or step == 0):
                self._before[name] = value if before is None else before
            known = before is not None and low is not None and high is not None
            ends = (before + low, before + high) if known else (math.nan, math.nan)  # type: ignore[operator]
            for column, added in zip(columns, (step, value, *ends), strict=True):
                column.append(added)


def _thinned(steps: Numbers, values: Numbers) -> Sequence[int]:
    """Indices of the first, the last, and of each stretch of steps the lowest and the highest: no spike is lost."""
    count = len(steps)
    if count <= MAX_POINTS:
        return range(count)
    stretches = (steps - steps[0]) // ((steps[-1] - steps[0] + 1) / (MAX_POINTS // 2))
    order = np.lexsort((values, stretches))
    first = np.flatnonzero(np.diff(stretches[order], prepend=-1))
    last = np.append(first[1:], count) - 1
    kept: list[int] = np.unique(np.concatenate([order[first], order[last], [0, count - 1]])).tolist()
    return kept
