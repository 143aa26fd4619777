"""Curves of a run: which there are, what belongs into each, and thinning. Pure functions over metric records."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardfl_app.runs.alarm import MOTION_KEPT
from rewardfl_app.runs.metrics import is_evaluation

Record = dict[str, Any]

MAX_POINTS = 1000
EVALUATION = "eval/"


@dataclass(frozen=True)
class Curve:
    """One line of a chart: `key` in metrics.jsonl, label, colour role, points drawn or not, level of the base model."""

    key: str
    label: str
    role: str
    marks: bool = False
    baseline: str | None = None
    baseline_label: str = "before"


@dataclass(frozen=True)
class Chart:
    """One chart: title, one sentence of help, unit, its curves."""

    key: str
    title: str
    help: str
    unit: str
    curves: tuple[Curve, ...]
    digits: int = 3
    floor: float | None = None
    wide: bool = False


CHARTS: tuple[Chart, ...] = (
    Chart(
        "reward",
        "Face similarity",
        "Cosine similarity of generated faces to the real person. The judge is a recogniser that is never trained on.",
        "",
        (
            Curve("reward", "training batch", "train"),
            Curve("eval/reward", "reward", "after", True, "eval/reward_baseline", "reward before"),
            Curve("eval/judge", "judge", "judge", True, "eval/judge_baseline", "judge before"),
        ),
        wide=True,
    ),
    Chart(
        "motion",
        "Motion",
        "How far the face's landmarks travel, in percent of the face size. A frozen face would raise the reward too.",
        "%",
        (Curve("eval/motion", "motion", "after", True, "eval/motion_baseline"),),
        digits=2,
        floor=0.0,
    ),
    Chart("loss", "Loss", "-weight x normalised reward + KL weight x KL.", "", (Curve("loss", "loss", "after"),)),
    Chart(
        "kl", "KL", "Divergence from the untrained model: how far it has moved.", "", (Curve("kl", "KL", "after"),), 4
    ),
    Chart(
        "grad_norm",
        "Gradient norm",
        "Before clipping.",
        "",
        (Curve("grad_norm", "gradient norm", "after"),),
        floor=0.0,
    ),
    Chart("learning_rate", "Learning rate", "", "", (Curve("learning_rate", "learning rate", "after"),), 3, 0.0),
    Chart(
        "step_seconds", "Seconds per step", "", "s", (Curve("step_seconds", "seconds per step", "after"),), 2, floor=0.0
    ),
    Chart(
        "memory",
        "Peak memory",
        "Highest memory in use during the step.",
        "GB",
        (Curve("peak_memory_gb", "peak memory", "after"),),
        2,
        floor=0.0,
    ),
    Chart(
        "face_rate",
        "Frames with a face",
        "Share of generated frames in which a face was found.",
        "",
        (
            Curve("face_rate", "training batch", "train"),
            Curve("eval/face_rate", "evaluation", "after", True, "eval/face_rate_baseline"),
        ),
        2,
    ),
)


def number(value: object) -> float | None:
    """A finite number, or None for everything else (missing, null, NaN, text)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


class Column:
    """One measured value over the steps: parallel arrays of step, unix time and value."""

    def __init__(self) -> None:
        self.steps = array("d")
        self.times = array("d")
        self.values = array("d")

    def append(self, step: float, time: float, value: float) -> None:
        """Add a point after the last one."""
        self.steps.append(step)
        self.times.append(time)
        self.values.append(value)

    def cut(self, step: float, keep_step: bool) -> None:
        """Forget everything from `step` on, or after it with keep_step."""
        if self.steps and self.steps[-1] >= step:
            first = (bisect_right if keep_step else bisect_left)(self.steps, step)
            for values in (self.steps, self.times, self.values):
                del values[first:]


class Columns:
    """The columns of all curves, grown record by record, so that a new step costs the same in a long run.

    A resumed run writes some steps a second time. The later writing counts, as in `runs.metrics.current`.
    """

    def __init__(self) -> None:
        self.start_time: float | None = None
        self.evaluations: list[Record] = []
        self._columns: dict[str, Column] = {key: Column() for key in _KEYS}
        self._last_step = -math.inf

    def extend(self, records: Iterable[Record]) -> None:
        """Add records of metrics.jsonl in the order of the file; those without a step are left out."""
        for record in records:
            step = record.get("step")
            if isinstance(step, int):
                self._add(step, record)

    def _add(self, step: int, record: Record) -> None:
        evaluated = is_evaluation(record)
        if step <= self._last_step:
            for key, column in self._columns.items():
                column.cut(step, keep_step=evaluated and not key.startswith(EVALUATION))
            while self.evaluations and self.evaluations[-1]["step"] >= step:
                self.evaluations.pop()
        self._last_step = step
        time = number(record.get("time")) or 0.0
        if self.start_time is None:
            self.start_time = time
        if evaluated:
            self.evaluations.append(record)
        for key, raw in record.items():
            if key in self._columns and (value := number(raw)) is not None:
                self._columns[key].append(step, time, value)

    def points(self, key: str, limit: int = MAX_POINTS) -> list[tuple[float, float, float]]:
        """(step, unix time, value) of a curve, thinned to about `limit` points."""
        column = self._columns[key]
        kept = thin(np.frombuffer(column.values), limit) if column.values else ()
        return [(column.steps[i], column.times[i], column.values[i]) for i in kept]

    def latest(self, key: str) -> float | None:
        """The last value of a curve or a base model's value, None when there is none."""
        values = self._columns[key].values
        return values[-1] if values else None


def thin(values: NDArray[np.float64], limit: int = MAX_POINTS) -> list[int]:
    """Indices of at most about `limit` values: the first, the last, and of each stretch the lowest and the highest, so
    that no spike is lost."""
    if len(values) <= limit:
        return list(range(len(values)))
    width = math.ceil(len(values) / (limit // 2))
    padded = np.pad(values, (0, -len(values) % width), mode="edge").reshape(-1, width)
    starts = np.arange(len(padded)) * width
    extremes = np.concatenate([starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)])
    kept: list[int] = np.unique(np.clip(np.append(extremes, [0, len(values) - 1]), 0, len(values) - 1)).tolist()
    return kept


_KEYS = frozenset(
    key for chart in CHARTS for curve in chart.curves for key in (curve.key, curve.baseline) if key is not None
)


def significant(value: float, digits: int = 5) -> float:
    """Rounded to `digits` significant digits: fewer characters on the wire, no visible difference."""
    return float(f"{value:.{digits}g}")


def build(columns: Columns, marks: Iterable[tuple[int, str]] = ()) -> list[dict[str, Any]]:
    """All charts that have data, ready for the page.

    Args:
        columns: of the run.
        marks: (step, label) of events worth a thin vertical line, such as checkpoints.
    """
    start = columns.start_time or 0.0
    shared_marks = [{"step": step, "label": label} for step, label in marks]
    charts = []
    for chart in CHARTS:
        series: list[dict[str, Any]] = []
        lines: list[dict[str, Any]] = []
        for curve in chart.curves:
            points = columns.points(curve.key)
            if points:
                series.append(
                    {
                        "key": curve.key,
                        "label": curve.label,
                        "role": curve.role,
                        "marks": curve.marks,
                        "x": [point[0] for point in points],
                        "t": [round(point[1] - start, 1) for point in points],
                        "y": [significant(point[2]) for point in points],
                    }
                )
            baseline = columns.latest(curve.baseline) if curve.baseline else None
            if baseline is not None and points:
                role = "judge" if curve.role == "judge" else "before"
                lines.append({"label": curve.baseline_label, "role": role, "y": significant(baseline)})
        if chart.key == "motion" and lines:
            lines.append(
                {"label": f"{MOTION_KEPT:.0%} of before", "role": "warn", "y": significant(MOTION_KEPT * lines[0]["y"])}
            )
        if series:
            charts.append(
                {
                    "key": chart.key,
                    "title": chart.title,
                    "help": chart.help,
                    "unit": chart.unit,
                    "digits": chart.digits,
                    "floor": chart.floor,
                    "wide": chart.wide,
                    "series": series,
                    "lines": lines,
                    "marks": shared_marks if chart.key == "reward" else [],
                }
            )
    return charts


def latest(records: Sequence[Record], key: str) -> float | None:
    """The last finite value of `key`, or None."""
    for record in reversed(records):
        value = number(record.get(key))
        if value is not None:
            return value
    return None
