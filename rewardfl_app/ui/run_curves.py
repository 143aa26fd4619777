"""Curves of several runs over each other: one chart per measured value, one line per run."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rewardfl_app.runs.columns import EVALUATION, Columns
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.metrics import MetricsReader
from rewardfl_app.ui.charts import CHARTS, Chart, significant
from rewardfl_app.ui.config_form import label

NUM_RUNS = 10  # as many as there are colours
NUM_CHARTS = 12
# Shown until the reader chooses.
DEFAULT = ("eval/reward", "eval/judge", "eval/motion", "kl")
_TITLES = {
    "reward": "Reward, training batch",
    "eval/reward": "Reward",
    "eval/judge": "Judge",
    "face_rate": "Frames with a face, training batch",
    "eval/face_rate": "Frames with a face",
    "eval/similarity_drift": "Drift",
    "eval/judge_drift": "Drift, judge",
    "eval/yaw_spread": "Turning of the head",
    "eval/pitch_spread": "Nodding of the head",
}


class _Measured:
    """What one run measured, read on from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self._reader = MetricsReader(RunFolder(path).metrics)
        self._restarts = 0
        self.columns = Columns()

    def look(self) -> Columns:
        """The columns with everything that stands in the file now."""
        new = self._reader.read_new()
        if self._reader.restarts != self._restarts:
            self._restarts, self.columns = self._reader.restarts, Columns()
        self.columns.extend(new)
        return self.columns


_one_reader = threading.Lock()  # several pages may ask for the same run at once


@lru_cache(maxsize=2 * NUM_RUNS)
def _measured(path: Path) -> _Measured:
    return _Measured(path)


def curves(runs: Sequence[RunFolder], keys: Sequence[str] | None = None) -> dict[str, Any]:
    """{choices [{key, title}], charts}: the values that any of the runs measured, and the chosen ones as charts.

    A chart's series are [{run, x, t, y, band, marks}] with the run's step, seconds since its start and value; an
    evaluated value begins with the base model's at step 0.
    """
    with _one_reader:
        return _curves([(run, _measured(run.path).look()) for run in runs[:NUM_RUNS]], keys)


def _curves(known: Sequence[tuple[RunFolder, Columns]], keys: Sequence[str] | None) -> dict[str, Any]:
    names = list(dict.fromkeys(name for _, columns in known for name in columns.names()))
    order = {curve.key: place for place, curve in enumerate(curve for chart in CHARTS for curve in chart.curves)}
    names.sort(key=lambda name: order.get(name, len(order)))
    chosen = [name for name in (DEFAULT if keys is None else keys) if name in names][:NUM_CHARTS]
    return {
        "choices": [{"key": name, "title": title(name)} for name in names],
        "charts": [_chart(name, known) for name in chosen],
    }


def title(name: str) -> str:
    """What a measured value is called."""
    if name in _TITLES:
        return _TITLES[name]
    chart = _chart_of(name)
    if chart is not None:
        return chart.title
    return label(name.removeprefix(EVALUATION).replace("/", ": ")) + (
        ", evaluation" if name.startswith(EVALUATION) else ""
    )


def _chart_of(name: str) -> Chart | None:
    return next((chart for chart in CHARTS if any(curve.key == name for curve in chart.curves)), None)


def _chart(name: str, known: Sequence[tuple[RunFolder, Columns]]) -> dict[str, Any]:
    chart = _chart_of(name)
    series = [line for run, columns in known if (line := _series(name, run, columns)) is not None]
    return {
        "key": name,
        "title": title(name),
        "help": chart.help if chart else "",
        "unit": chart.unit if chart else "",
        "digits": chart.digits if chart else 3,
        "floor": None,  # what differs is to be seen, not how far from 0 it is
        "series": series,
        "lines": [],
        "marks": [],
    }


def _series(name: str, run: RunFolder, columns: Columns) -> dict[str, Any] | None:
    column = columns.get(name)
    if column is None:
        return None
    kept = column.kept(-math.inf)
    start = columns.start_time or 0.0
    line: dict[str, Any] = {
        "run": run.id,
        "marks": name.startswith(EVALUATION),
        "x": [column.steps[i] for i in kept],
        "t": [round(column.times[i] - start, 1) for i in kept],
        "y": [significant(column.values[i]) for i in kept],
    }
    ends = [[_end(side[i]) for i in kept] for side in (column.lows, column.highs)] if column.has_intervals else None
    before = columns.baseline(name) if name.startswith(EVALUATION) else None
    if before is not None and line["x"] and line["x"][0] > 0:
        for key, first in (("x", 0.0), ("t", 0.0), ("y", significant(before))):
            line[key].insert(0, first)
        for side in ends or ():
            side.insert(0, None)
    if ends is not None:
        line["band"] = ends
    return line


def _end(value: float) -> float | None:
    return None if math.isnan(value) else significant(value)
