"""Before against after on the same evaluation samples: pairs of videos, differences with their uncertainty, and what
they mean.

Works on the samples of run folders alone; no weights are loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.config.secrets import redacted_in
from rewardfl_app.inference.pairs import CompareError, Pair, Side, pairs
from rewardfl_app.inference.report_page import write_page
from rewardfl_app.inference.side_by_side import write_side_by_side
from rewardfl_app.runs.alarm import MOTION_KEPT
from rewardfl_app.runs.change import CONFIDENCE, METHOD, Change, mean_change, number
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.video_values import MEASURES

FILM = "side_by_side.mp4"
PAGE = "report.html"

# Told after each piece of work: how many of how many are done.
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Comparison:
    """What `build` wrote: report.json, report.html and side_by_side.mp4, and the content of the first."""

    report: dict[str, Any]
    json: Path
    page: Path
    video: Path


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
    if motion is not None and kept is not None and kept < MOTION_KEPT and (motion.low is None or motion.direction < 0):
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
        "method": METHOD,
        "mean": {name: None if change is None else asdict(change) for name, change in changes.items()},
        "verdict": verdict(changes),
        "samples": [_sample_row(pair) for pair in found],
    }


def build(before: Side, after: Side, out: Path, advance: Advance = lambda done, total: None) -> Comparison:
    """Write side_by_side.mp4, report.json and report.html (one file, no network) into `out`.

    `advance` is told after each pair, of the film and then of the report.

    Raises CompareError when the sides share no sample or `out` cannot be written, VideoError when a video cannot be
    read.
    """
    found = pairs(before, after)
    report = redacted_in(summarise(before, after, found))
    try:
        out.mkdir(parents=True, exist_ok=True)
        comparison = Comparison(report, out / "report.json", out / PAGE, out / FILM)
        count = len(found)
        write_side_by_side(comparison.video, found, *labels(before, after), lambda done: advance(done, 2 * count))
        write_page(comparison.page, report, found, lambda done: advance(count + done, 2 * count))
        write_json_atomic(comparison.json, report)
    except OSError as error:
        raise CompareError(f"The comparison cannot be written to {out} ({error.strerror or error}).") from error
    return comparison


def labels(before: Side, after: Side) -> tuple[str, str]:
    """What the two sides are called: of different runs with the run's name."""
    if before.run.path == after.run.path:
        return before.label, after.label
    one, other = (_describe(part) for part in (before, after))
    return f"{one['name']}, {before.label}", f"{other['name']}, {after.label}"


def _sample_row(pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": pair.name,
        "prompt": pair.after_faces.get("prompt"),
        "seed": pair.after_faces.get("seed"),
    }
    for name in MEASURES:
        b, a = number(pair.before_faces.get(name)), number(pair.after_faces.get(name))
        delta = None if a is None or b is None else a - b
        row[name] = {"before": b, "after": a, "delta": delta}
    return row


def _describe(part: Side) -> dict[str, Any]:
    info = read_json(part.run.run_info) or {}
    return {"run": part.run.id, "name": info.get("name") or part.run.id, "step": part.step, "label": part.label}
