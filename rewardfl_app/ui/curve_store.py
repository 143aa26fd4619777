"""The curves of the runs of a folder: each run's metrics.jsonl is followed once, for all open pages together.

A tick sends a page no points. The page asks for those that are new since the ones it has, so a long run costs no more
than a short one.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from rewardfl_app.runs.columns import EVALUATION, Column, Columns
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.metrics import MetricsReader
from rewardfl_app.ui import charts, hacking
from rewardfl_app.ui.charts import significant

# Runs followed at once: the one that is looked at and those laid over it, for a few pages.
NUM_RUNS = 24


class FollowedRun:
    """metrics.jsonl of one run, read on as it grows. `version` grows with every record, `num_evaluations` says how many
    evaluations were read; `generation` is another text once something that was read no longer stands."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.columns = Columns()
        self.version = 0
        self.generation = secrets.token_hex(4)
        self._reader = MetricsReader(run.metrics)
        self._restarts = 0
        self._cuts = 0
        self._lock = threading.Lock()
        self._hacking: tuple[object, dict[str, Any] | None] = (None, None)

    def read(self) -> bool:
        """Read what was written since; whether there was anything."""
        with self._lock:
            return self._read()

    @property
    def evaluated(self) -> tuple[str, float]:
        """Another value after each evaluation, and when earlier ones were taken back."""
        return self.generation, self.columns.last_evaluated

    def news(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """The points after those a page has, by `seen` {generation, trained, evaluated}; all of them, thinned, for a
        page that has none or those of another generation (`whole` then).

        Returns {generation, trained, evaluated, whole, layout (see `charts.layout`), series {key: {x, t, y and, where
        there are intervals, low, high}}, hacking (see `ui.hacking`; None when the page has it)}. t: seconds since the
        first record.
        """
        with self._lock:
            self._read()
            whole = seen.get("generation") != self.generation
            trained, evaluated = (-math.inf if whole else _step(seen.get(name)) for name in ("trained", "evaluated"))
            columns = self.columns
            series = {}
            for name in columns.names():
                column = columns.get(name)
                after = evaluated if name.startswith(EVALUATION) else trained
                if column is not None and (points := _points(column, after, columns.start_time or 0.0)):
                    series[name] = points
            return {
                "generation": self.generation,
                "trained": _finite(columns.last_trained),
                "evaluated": _finite(columns.last_evaluated),
                "whole": whole,
                "layout": charts.layout(columns),
                "series": series,
                "hacking": self._panel() if whole or columns.last_evaluated > evaluated else None,
            }

    def _read(self) -> bool:
        new = self._reader.read_new()
        restarted = self._reader.restarts != self._restarts
        self._restarts = self._reader.restarts
        if restarted:
            self.columns = Columns()
        self.columns.extend(new)
        if restarted or self.columns.cuts != self._cuts:
            self.generation = secrets.token_hex(4)
        self._cuts = self.columns.cuts
        self.version += bool(new) or restarted
        return bool(new) or restarted

    def _panel(self) -> dict[str, Any] | None:
        if self._hacking[0] != self.evaluated:
            known = self.columns.evaluations
            self._hacking = (self.evaluated, hacking.payload(known) if known else None)
        return self._hacking[1]


class CurveStore:
    """The runs that are followed; the one asked for longest ago is let go."""

    def __init__(self) -> None:
        self._runs: OrderedDict[Path, FollowedRun] = OrderedDict()
        self._lock = threading.Lock()

    def follow(self, run: RunFolder) -> FollowedRun:
        """The run as it is followed; nothing is read yet."""
        with self._lock:
            followed = self._runs.pop(run.path, None) or FollowedRun(run)
            self._runs[run.path] = followed
            while len(self._runs) > NUM_RUNS:
                self._runs.popitem(last=False)
            return followed


@lru_cache(maxsize=1)
def shared() -> CurveStore:
    """The one store of this process."""
    return CurveStore()


def _points(column: Column, after: float, start: float) -> dict[str, list[float | None]] | None:
    kept = column.kept(after)
    if not kept:
        return None
    points: dict[str, list[float | None]] = {
        "x": [column.steps[i] for i in kept],
        "t": [round(column.times[i] - start, 1) for i in kept],
        "y": [significant(column.values[i]) for i in kept],
    }
    if column.has_intervals:
        points["low"] = [_finite(column.lows[i]) for i in kept]
        points["high"] = [_finite(column.highs[i]) for i in kept]
    return points


def _finite(value: float) -> float | None:
    return significant(value, 7) if math.isfinite(value) else None


def _step(value: object) -> float:
    known = charts.number(value)
    return -math.inf if known is None else known
