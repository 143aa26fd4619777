"""Before against after on the same evaluation samples: pairs of videos, differences with their uncertainty, and what
they mean.

Works on the samples of run folders alone; no weights are loaded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.inference.pairs import CompareError, Pair, Side, pairs
from rewardfl_app.inference.report_page import write_page
from rewardfl_app.inference.side_by_side import write_side_by_side
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

MEASURES = ("reward", "judge", "motion", "sharpness", "face_rate")
CONFIDENCE = 0.95
# Below this share of the motion before, a steadier face is suspected of being a frozen one.
MOTION_KEPT = 0.9
# Student's t for a two-sided 95% interval, by degrees of freedom 1, 2, ...
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
_Z95 = 1.959964


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


@dataclass(frozen=True)
class Comparison:
    """What `build` wrote: report.json, report.html and side_by_side.mp4, and the content of the first."""

    report: dict[str, Any]
    json: Path
    page: Path
    video: Path


def mean_change(before: Sequence[float | None], after: Sequence[float | None]) -> Change | None:
    """Paired change of a measure, over the pairs where both values are numbers; None when there are none."""
    values = zip(map(_number, before), map(_number, after), strict=True)
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


def verdict(changes: dict[str, Change | None]) -> dict[str, str]:
    """{tone: good | warning | neutral, sentence}: what the changes of reward, judge and motion say together."""
    reward, judge, motion = (changes.get(name) for name in ("reward", "judge", "motion"))
    if reward is None:
        return {
            "tone": "neutral",
            "sentence": "No face was scored on both sides, so nothing can be said about the change.",
        }
    kept = motion.after / motion.before if motion is not None and motion.before > 0 else None
    moves = "" if kept is None else f" The face keeps {kept:.0%} of its motion."
    if reward.direction < 0:
        return {"tone": "warning", "sentence": f"The reward fell.{moves}"}
    if reward.direction == 0:
        many = f"{reward.num_pairs} samples" if reward.num_pairs > 1 else "a single sample"
        return {
            "tone": "neutral",
            "sentence": f"No clear change: with {many}, the reward's difference may be chance.{moves}",
        }
    if kept is not None and kept < MOTION_KEPT:
        return {
            "tone": "warning",
            "sentence": f"The reward rose, but only {kept:.0%} of the motion is left: a frozen face is no better one.",
        }
    if judge is None:
        return {
            "tone": "neutral",
            "sentence": f"The reward rose; no held-out judge was measured, so it may be a cheat.{moves}",
        }
    if judge.direction <= 0:
        return {
            "tone": "warning",
            "sentence": "The reward rose, but the judge, which was not trained on, does not confirm it: this may be a "
            f"cheat on the training recogniser.{moves}",
        }
    return {
        "tone": "good",
        "sentence": f"The face stays closer to the person, and the judge, which was not trained on, agrees.{moves}",
    }


def summarise(before: Side, after: Side, found: Sequence[Pair]) -> dict[str, Any]:
    """The content of report.json: both sides, mean changes with intervals, every sample's values, the verdict."""
    changes = {
        name: mean_change([p.before_faces.get(name) for p in found], [p.after_faces.get(name) for p in found])
        for name in MEASURES
    }
    return {
        "created": time.time(),
        "before": _describe(before),
        "after": _describe(after),
        "num_samples": len(found),
        "confidence": CONFIDENCE,
        "method": "paired differences per sample; Student's t interval of their mean",
        "mean": {name: None if change is None else asdict(change) for name, change in changes.items()},
        "verdict": verdict(changes),
        "samples": [_sample_row(pair) for pair in found],
    }


def build(before: Side, after: Side, out: Path) -> Comparison:
    """Write side_by_side.mp4, report.json and report.html (one file, no network) into `out`.

    Raises CompareError when the sides share no sample or `out` cannot be written, VideoError when a video cannot be
    read.
    """
    found = pairs(before, after)
    report = summarise(before, after, found)
    try:
        out.mkdir(parents=True, exist_ok=True)
        comparison = Comparison(report, out / "report.json", out / "report.html", out / "side_by_side.mp4")
        write_side_by_side(comparison.video, found, before.label, after.label)
        write_page(comparison.page, report, found)
        write_json_atomic(comparison.json, report)
    except OSError as error:
        raise CompareError(f"The comparison cannot be written to {out} ({error.strerror or error}).") from error
    return comparison


def _sample_row(pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": pair.name,
        "prompt": pair.after_faces.get("prompt"),
        "seed": pair.after_faces.get("seed"),
    }
    for name in MEASURES:
        b, a = _number(pair.before_faces.get(name)), _number(pair.after_faces.get(name))
        delta = None if a is None or b is None else a - b
        row[name] = {"before": b, "after": a, "delta": delta}
    return row


def _describe(part: Side) -> dict[str, Any]:
    info = read_json(part.run.run_info) or {}
    return {"run": part.run.id, "name": info.get("name") or part.run.id, "step": part.step, "label": part.label}


def _number(value: object) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _t95(degrees: int) -> float:
    """Two-sided 95% quantile of Student's t; beyond the table by its expansion around the normal one (error below
    1e-4).
    """
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    return _Z95 + (_Z95**3 + _Z95) / (4 * degrees) + (5 * _Z95**5 + 16 * _Z95**3 + 3 * _Z95) / (96 * degrees**2)
