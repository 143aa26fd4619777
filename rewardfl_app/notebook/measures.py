"""What a run measured, as the points of curves: read on as metrics.jsonl grows, thinned to what can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardfl_app.runs.columns import Columns
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.metrics import MetricsReader

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

    def __init__(self, run: RunFolder) -> None:
        self._reader = MetricsReader(run.metrics)
        self._restarts = 0
        self._columns = Columns()

    def read(self) -> bool:
        """Read what was written since; whether there was anything."""
        new = self._reader.read_new()
        restarted = self._reader.restarts != self._restarts
        if restarted:
            self._restarts = self._reader.restarts
            self._columns = Columns()
        self._columns.extend(new)
        return bool(new) or restarted

    def points(self, name: str) -> Points:
        """The curve of a value, thinned so that no spike is lost; empty while it was not measured."""
        column = self._columns.get(name)
        if column is None:
            return Points(*(np.empty(0) for _ in range(4)))
        kept = column.kept(after=-np.inf)
        return Points(*(np.array(part)[kept] for part in (column.steps, column.values, column.lows, column.highs)))

    def before(self, name: str) -> float | None:
        """The base model's value of an evaluated measure; None where it was not measured."""
        return self._columns.baseline(name)

    @property
    def last_step(self) -> float:
        """The last step of all curves, 0 without any."""
        return max(self._columns.last_trained, self._columns.last_evaluated, 0.0)
