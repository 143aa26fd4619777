"""Evaluation records of runs that never were: the gains of every measure over the steps, with noise per video."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rewardfl_app.runs.change import mean_change

Course = Callable[[float], float]
BASE = {"reward": 0.6, "judge": 0.7, "motion": 6.0, "face_rate": 0.95}


def flat(share: float) -> float:
    return 0.0


def rising(gain: float) -> Course:
    """Evenly from 0 to the gain."""
    return lambda share: gain * share


def records(seed: int = 0, num_videos: int = 8, num_evaluations: int = 10, **courses: Course) -> list[dict[str, Any]]:
    """One record per evaluation at steps 10, 20, ...; a course gives the gain at a share of the run.

    That of motion is relative. Without a course a measure is that of the base model, with noise.
    """
    rng = random.Random(seed)
    spread = {"reward": 0.1, "judge": 0.1, "motion": 1.0, "face_rate": 0.0}
    noise = {"reward": 0.03, "judge": 0.03, "motion": 0.12, "face_rate": 0.01}
    before = {name: [rng.gauss(level, spread[name]) for _ in range(num_videos)] for name, level in BASE.items()}
    found = []
    for number in range(1, num_evaluations + 1):
        record: dict[str, Any] = {"step": 10 * number}
        for name, values in before.items():
            gain = courses.get(name, flat)(number / num_evaluations)
            scale = values if name == "motion" else [1.0] * num_videos
            after = [v + unit * (gain + rng.gauss(0, noise[name])) for v, unit in zip(values, scale, strict=True)]
            change = mean_change(values, after)
            assert change is not None
            record |= {
                f"eval/{name}": change.after,
                f"eval/{name}_baseline": change.before,
                f"eval/{name}_gain": change.delta,
                f"eval/{name}_gain_low": change.low,
                f"eval/{name}_gain_high": change.high,
            }
        found.append(record)
    return found


def evaluation(step: int, reward: float, judge: float | None, motion: float = 6.0, **more: float) -> dict[str, Any]:
    """A record without intervals, as of a single video."""
    values = {"reward": reward, "judge": judge, "motion": motion, **more}
    record: dict[str, Any] = {"step": step}
    for name, value in values.items():
        record |= {f"eval/{name}": value, f"eval/{name}_baseline": None if value is None else BASE[name]}
    return record
