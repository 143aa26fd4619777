"""The charts of a run: which there are, what belongs into each. Pure functions over `columns.Columns`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rewardfl_app.runs.alarm import MOTION_KEPT
from rewardfl_app.runs.change import number
from rewardfl_app.runs.columns import EVALUATION, Columns, Record

__all__ = ["CHARTS", "GROUPS", "Chart", "Curve", "Record", "latest", "layout", "number", "significant"]

# Rewards that a run adds up beside the face similarity are recorded as reward/NAME and eval/reward/NAME.
_OWN = "reward/"


@dataclass(frozen=True)
class Curve:
    """One line of a chart: `key` in metrics.jsonl, label, colour role ("train": every step, thin).

    `before`: label of the base model's level, "" for none.
    """

    key: str
    label: str
    role: str = "after"
    before: str = ""


@dataclass(frozen=True)
class Chart:
    """One chart: title, one sentence of help, unit, its curves, the group it stands in."""

    key: str
    title: str
    help: str
    curves: tuple[Curve, ...]
    group: str = "training"
    unit: str = ""
    digits: int = 3
    floor: float | None = None
    wide: bool = False


# In the order of the page.
GROUPS = ("rewards", "measures", "training", "machine")


def _measured(key: str, title: str, help_text: str, **options: Any) -> Chart:
    """A chart of one measure of the evaluation videos."""
    curve = Curve(f"{EVALUATION}{key}", "after", "after", "before")
    return Chart(key, title, help_text, (curve,), group="measures", **options)


def _each_step(key: str, title: str, help_text: str, **options: Any) -> Chart:
    """A chart of one value of every step."""
    return Chart(key, title, help_text, (Curve(key, title[:1].lower() + title[1:]),), **options)


CHARTS: tuple[Chart, ...] = (
    Chart(
        "reward",
        "Face similarity",
        "Cosine similarity of generated faces to the real person. The judge is a recogniser that is never trained on.",
        (
            Curve("reward", "training batch", "train"),
            Curve("eval/reward", "reward", "after", "reward before"),
            Curve("eval/judge", "judge", "judge", "judge before"),
        ),
        group="rewards",
        wide=True,
    ),
    _measured(
        "motion",
        "Motion",
        "How far the face's landmarks travel, in percent of the face size. A frozen face would raise the reward too.",
        unit="%",
        digits=2,
        floor=0.0,
    ),
    _measured(
        "first_frame_distance",
        "Distance to the first frame",
        "How far the picture leaves the frame it was given, in percent of black to white.",
        unit="%",
        digits=2,
        floor=0.0,
    ),
    _measured(
        "frame_motion",
        "Motion of the picture",
        "Mean difference of neighbouring frames, in percent of black to white.",
        unit="%",
        digits=2,
        floor=0.0,
    ),
    Chart(
        "face_rate",
        "Frames with a face",
        "Share of generated frames in which a face was found.",
        (
            Curve("face_rate", "training batch", "train"),
            Curve("eval/face_rate", "evaluation videos", "after", "before"),
        ),
        group="measures",
        digits=2,
    ),
    _measured(
        "face_size",
        "Face size",
        "Root of the area of the face's box, in pixels: a face that grows is easier to score.",
        unit="px",
        digits=1,
    ),
    _measured(
        "sharpness", "Sharpness", "Variance of the Laplacian of the aligned face: a blurred face has little.", digits=1
    ),
    Chart(
        "drift",
        "Drift over the frames",
        "Similarity in the last tenth of the frames less that in the first: 0 is a face that stays the same.",
        (
            Curve("eval/similarity_drift", "reward", "after", "reward before"),
            Curve("eval/judge_drift", "judge", "judge", "judge before"),
        ),
        group="measures",
    ),
    Chart(
        "pose",
        "Turning of the head",
        "Standard deviation of where the head points to: one that is held still has none.",
        (
            Curve("eval/yaw_spread", "to the sides", "after", "before"),
            Curve("eval/pitch_spread", "up and down", "judge", "before"),
        ),
        group="measures",
        unit="°",
        digits=2,
        floor=0.0,
    ),
    _each_step("loss", "Loss", "-weight x normalised reward + KL weight x KL."),
    _each_step("kl", "KL", "Divergence from the untrained model: how far it has moved.", digits=4),
    _each_step("kl_weight", "KL weight", "Held so that the KL stays at kl_target.", digits=3),
    _each_step("anchor", "Anchor loss", "Flow matching on the real clips, which holds the model near the data."),
    _each_step("grad_norm", "Gradient norm", "Before clipping.", floor=0.0),
    _each_step("learning_rate", "Learning rate", "What the step was made with.", floor=0.0),
    _each_step("first_gradient_step", "First gradient step", "Index of the denoising step drawn for it.", digits=0),
    _each_step("left_out", "Left out", "Samples of the step that could not be used.", digits=0, floor=0.0),
    _each_step("step_seconds", "Seconds per step", "Of one update.", group="machine", unit="s", digits=2, floor=0.0),
    Chart(
        "memory",
        "Peak memory",
        "Highest memory in use so far.",
        (Curve("peak_memory_gb", "peak memory"),),
        group="machine",
        unit="GB",
        digits=2,
        floor=0.0,
    ),
)


def layout(columns: Columns) -> list[dict[str, Any]]:
    """The charts that have data, without their points: {key, title, help, unit, digits, floor, wide, group, order,
    curves [{key, label, role, marks}], lines [{label, role, y}]}. `marks`: whether the points are drawn."""
    charts = []
    drawn = sorted((*CHARTS, *_own_rewards(columns)), key=lambda chart: GROUPS.index(chart.group))
    for order, chart in enumerate(drawn):
        curves = [curve for curve in chart.curves if columns.get(curve.key) is not None]
        if curves:
            charts.append(
                {
                    "key": chart.key,
                    "title": chart.title,
                    "help": chart.help,
                    "unit": chart.unit,
                    "digits": chart.digits,
                    "floor": chart.floor,
                    "wide": chart.wide,
                    "group": chart.group,
                    "order": order,
                    "curves": [_curve(curve) for curve in curves],
                    "lines": _levels(chart, curves, columns),
                }
            )
    return charts


def _curve(curve: Curve) -> dict[str, Any]:
    measured = curve.key.startswith(EVALUATION)
    return {"key": curve.key, "label": curve.label, "role": curve.role, "marks": measured}


def _levels(chart: Chart, curves: Iterable[Curve], columns: Columns) -> list[dict[str, Any]]:
    """The base model's values, and where the alarm for a frozen face begins."""
    lines: list[dict[str, Any]] = []
    for curve in curves:
        before = columns.baseline(curve.key) if curve.before else None
        if before is not None:
            role = "judge" if curve.role == "judge" else "before"
            lines.append({"label": curve.before, "role": role, "y": significant(before)})
            if chart.key == "motion":
                limit = {
                    "label": f"{MOTION_KEPT:.0%} of before",
                    "role": "warn",
                    "y": significant(MOTION_KEPT * before),
                }
                lines.append(limit)
    return lines


def _own_rewards(columns: Columns) -> list[Chart]:
    """A chart for each of several rewards that are added up."""
    names = dict.fromkeys(
        name.removeprefix(EVALUATION).removeprefix(_OWN)
        for name in columns.names()
        if name.removeprefix(EVALUATION).startswith(_OWN)
    )
    return [
        Chart(
            f"reward-{place}",
            f"Reward: {name.rpartition(':')[2]}",
            f"The reward {name} alone, before its weight.",
            (
                Curve(f"{_OWN}{name}", "training batch", "train"),
                Curve(f"{EVALUATION}{_OWN}{name}", "evaluation", "after", "before"),
            ),
            group="rewards",
        )
        for place, name in enumerate(names)
    ]


def significant(value: float, digits: int = 5) -> float:
    """Rounded to `digits` significant digits: fewer characters on the wire, no visible difference."""
    return float(f"{value:.{digits}g}")


def latest(records: Sequence[Record], key: str) -> float | None:
    """The last finite value of `key`, or None."""
    for record in reversed(records):
        value = number(record.get(key))
        if value is not None:
            return value
    return None
