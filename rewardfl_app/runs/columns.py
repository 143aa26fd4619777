"""The measured values of a run as columns over the steps, grown record by record, and thinned for drawing."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardfl_app.runs.change import number
from rewardfl_app.runs.evaluations import Evaluated
from rewardfl_app.runs.metrics import is_evaluation

Record = Mapping[str, Any]

MAX_POINTS = 1000  # of a curve that is drawn
MAX_KEPT = 4 * MAX_POINTS  # of a curve that is remembered
EVALUATION = "eval/"
# Parts of an evaluation record that belong to another value: the base model's, the change, its interval.
_PARTS = ("_baseline", "_gain", "_gain_low", "_gain_high")
# No curves: where a record belongs, and what is one value per frame.
_NO_CURVE = frozenset({"step", "time", "eval/alarm", "eval/similarity_curve", "eval/judge_curve"})


class Column:
    """One measured value over the steps: parallel arrays of step, unix time, value and the ends of its 95% interval
    (NaN where there is none).

    A long run needs no more memory than a short one: beyond MAX_KEPT points, the lowest and the highest of each stretch
    of steps stay, and the stretches become longer.
    """

    def __init__(self) -> None:
        self._stretch = 1  # steps
        self.steps = array("d")
        self.times = array("d")
        self.values = array("d")
        self.lows = array("d")
        self.highs = array("d")

    def append(self, step: float, time: float, value: float, low: float = math.nan, high: float = math.nan) -> None:
        """Add a point after the last one."""
        self.steps.append(step)
        self.times.append(time)
        self.values.append(value)
        self.lows.append(low)
        self.highs.append(high)
        if len(self.steps) > MAX_KEPT:
            self._thin_out()

    def cut(self, step: float, keep_step: bool) -> bool:
        """Forget everything from `step` on, or after it with keep_step; whether there was anything."""
        first = (bisect_right if keep_step else bisect_left)(self.steps, step)
        if first == len(self.steps):
            return False
        for values in self._arrays():
            del values[first:]
        return True

    def kept(self, after: float, limit: int = MAX_POINTS) -> list[int]:
        """Indices of the points after a step, thinned to about `limit`."""
        first = bisect_right(self.steps, after)
        kept = thin(np.array(self.steps[first:]), np.array(self.values[first:]), limit)
        return [first + index for index in kept]

    @property
    def has_intervals(self) -> bool:
        """Whether any point has one."""
        return any(not math.isnan(low) for low in self.lows)

    def _thin_out(self) -> None:
        steps, values = np.array(self.steps), np.array(self.values)
        while len(kept := _extremes(steps // self._stretch, values)) > MAX_KEPT // 2:
            self._stretch *= 2
        for numbers in self._arrays():
            numbers[:] = array("d", np.array(numbers)[kept].tobytes())

    def _arrays(self) -> tuple[array[float], ...]:
        return self.steps, self.times, self.values, self.lows, self.highs


class Columns:
    """The columns of all that a run's metrics.jsonl measures, so that a new step costs the same in a long run.

    A resumed run writes some steps a second time. The later writing counts, as in `runs.metrics.current`. `cuts` counts
    how often something that was read before ceased to stand.
    """

    def __init__(self) -> None:
        self.start_time: float | None = None
        self.evaluations: list[Evaluated] = []
        self.cuts = 0
        self.last_trained = -math.inf
        self.last_evaluated = -math.inf
        self._columns: dict[str, Column | None] = {}  # None: what is no curve
        self._baselines: dict[str, float] = {}
        self._last_step = -math.inf

    def extend(self, records: Iterable[Record]) -> None:
        """Add records of metrics.jsonl in the order of the file; those without a step are left out."""
        for record in records:
            step = record.get("step")
            if isinstance(step, int):
                self._add(step, record)

    def names(self) -> list[str]:
        """What was measured, in the order of its first appearance."""
        return [name for name, column in self._columns.items() if column is not None and column.values]

    def get(self, name: str) -> Column | None:
        """The column of a value, None when it was never measured."""
        column = self._columns.get(name)
        return column if column is not None and column.values else None

    def baseline(self, name: str) -> float | None:
        """The base model's value of `eval/...`, None when it was not measured."""
        return self._baselines.get(name)

    def _add(self, step: int, record: Record) -> None:
        evaluated = is_evaluation(record)
        if step <= self._last_step:
            self._cut(step, evaluated)
        self._last_step = step
        time = number(record.get("time")) or 0.0
        if self.start_time is None:
            self.start_time = time
        if evaluated:
            self.evaluations.append(Evaluated(record))
            self.last_evaluated = step
        else:
            self.last_trained = step
        for name, raw in record.items():
            if name not in self._columns:
                self._columns[name] = None if name in _NO_CURVE or name.endswith(_PARTS) else Column()
            column = self._columns[name]
            if column is None or (value := number(raw)) is None:
                continue
            if evaluated:
                column.append(step, time, value, *_interval(record, name))
                before = value if step == 0 else number(record.get(f"{name}_baseline"))
                if before is not None:
                    self._baselines[name] = before
            else:
                column.append(step, time, value)

    def _cut(self, step: int, evaluated: bool) -> None:
        cut = False
        for name, column in self._columns.items():
            if column is not None:
                cut |= column.cut(step, keep_step=evaluated and not name.startswith(EVALUATION))
        while self.evaluations and self.evaluations[-1]["step"] >= step:
            self.evaluations.pop()
            cut = True
        self.cuts += cut


def _interval(record: Record, name: str) -> tuple[float, float]:
    """The 95% interval of an evaluation's change, laid around its mean."""
    before, low, high = (number(record.get(name + part)) for part in ("_baseline", "_gain_low", "_gain_high"))
    if before is None or low is None or high is None:
        return math.nan, math.nan
    return before + low, before + high


def _extremes(stretches: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the lowest and the highest value of each stretch, and of the first and the last of all."""
    order = np.lexsort((values, stretches))
    first = np.flatnonzero(np.diff(stretches[order], prepend=-np.inf))
    last = np.append(first[1:], len(order)) - 1
    return np.unique(np.concatenate([order[first], order[last], [0, len(order) - 1]]))


def thin(steps: NDArray[np.float64], values: NDArray[np.float64], limit: int = MAX_POINTS) -> list[int]:
    """Indices of at most about `limit` points: the first, the last, and of each stretch of steps the lowest and the
    highest, so that no spike is lost."""
    if len(values) <= limit:
        return list(range(len(values)))
    stretch = (steps[-1] - steps[0] + 1) / (limit // 2)
    kept: list[int] = _extremes((steps - steps[0]) // stretch, values).tolist()
    return kept
