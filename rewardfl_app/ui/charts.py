"""Curves of a run: which there are, what belongs into each, and thinning. Pure functions over metric records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

MAX_POINTS = 1000


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


def column(records: Iterable[Record], key: str) -> list[tuple[float, float, float]]:
    """(step, unix time, value) of each record with a finite value of `key`; records in `runs.metrics.current` order."""
    points: list[tuple[float, float, float]] = []
    for record in records:
        step, value = number(record.get("step")), number(record.get(key))
        if step is not None and value is not None:
            points.append((step, number(record.get("time")) or 0.0, value))
    return points


def thin(points: Sequence[tuple[float, float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float, float]]:
    """At most about `limit` points; of each stretch the lowest and the highest stay, so that spikes are never lost."""
    if len(points) <= limit:
        return list(points)
    buckets = max(1, limit // 2)
    kept: list[tuple[float, float, float]] = [points[0]]
    inner = points[1:-1]
    for bucket in range(buckets):
        stretch = inner[bucket * len(inner) // buckets : (bucket + 1) * len(inner) // buckets]
        if stretch:
            low, high = min(stretch, key=_value), max(stretch, key=_value)
            kept.extend(sorted({low, high}))
    kept.append(points[-1])
    return kept


def _value(point: tuple[float, float, float]) -> float:
    return point[2]


def significant(value: float, digits: int = 5) -> float:
    """Rounded to `digits` significant digits: fewer characters on the wire, no visible difference."""
    return float(f"{value:.{digits}g}")


def build(records: Sequence[Record], marks: Iterable[tuple[int, str]] = ()) -> list[dict[str, Any]]:
    """All charts that have data, ready for the page.

    Args:
        records: of metrics.jsonl, in order.
        marks: (step, label) of events worth a thin vertical line, such as checkpoints.
    """
    start = next((time for record in records if (time := number(record.get("time"))) is not None), 0.0)
    shared_marks = [{"step": step, "label": label} for step, label in marks]
    charts = []
    for chart in CHARTS:
        series: list[dict[str, Any]] = []
        lines: list[dict[str, Any]] = []
        for curve in chart.curves:
            points = thin(column(records, curve.key))
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
            baseline = latest(records, curve.baseline) if curve.baseline else None
            if baseline is not None and points:
                role = "judge" if curve.role == "judge" else "before"
                lines.append({"label": curve.baseline_label, "role": role, "y": significant(baseline)})
        if chart.key == "motion" and lines:
            lines.append({"label": "90% of before", "role": "warn", "y": significant(0.9 * lines[0]["y"])})
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
