"""How long a run will take, told by earlier runs of the same shape; nothing is said where there are none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.metrics import current, is_evaluation
from rewardfl_app.ui.config_form import Values, text_of

LEAST_STEPS = 3
_READ_BYTES = 300_000  # the first few hundred steps tell enough
# What changes neither the work of a step nor that of an evaluation. Everything else must be equal.
NEUTRAL = frozenset(
    f"{section}.{name}"
    for section, names in {
        "model": ("model_paths", "model_id_with_origin_paths", "tokenizer_path"),
        "data": ("metadata_path", "cache_gb"),
        "reward": (
            "reward_model_path judge_model_path reward_weight reward_mean reward_std kl_weight kl_target pool hinge "
            "missing_face_penalty include_first_frame"
        ).split(),
        "lora": ("lora_alpha", "lora_dropout"),
        "train": (
            "learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps weight_decay max_steps max_grad_norm "
            "ema_decay save_steps seed"
        ).split(),
        "evaluation": ("eval_steps", "metadata_path", "seed"),
    }.items()
    for name in names
)


@dataclass(frozen=True)
class Pace:
    """Seconds that a run spent: per step, per evaluation (0 when it made none), and before its first step."""

    step: float
    evaluation: float
    start: float


def estimate(values: Values, earlier: Iterable[tuple[RunFolder, Values]]) -> tuple[float, RunFolder, Pace] | None:
    """(seconds, the run it is told by, its pace) from the first of the earlier runs that has the same shape.

    None when there is no such run, or the number of steps is none.
    """
    try:
        steps, every = int(text_of(values["train.max_steps"])), int(text_of(values["evaluation.eval_steps"]))
    except (KeyError, ValueError):
        return None
    if steps < 1 or every < 1:
        return None
    for run, before in earlier:
        told = pace(run) if same_shape(values, before) else None
        if told is not None:
            evaluations = steps // every + (steps % every > 0)
            return told.start + steps * told.step + evaluations * told.evaluation, run, told
    return None


def same_shape(one: Values, other: Values) -> bool:
    """Whether a step of both does the same work."""
    keys = (one.keys() | other.keys()) - NEUTRAL
    shaping = {key for key in keys if text_of(one.get(key)).strip() != text_of(other.get(key)).strip()}
    # A divergence that is switched off costs nothing, a target for it does nothing.
    return not shaping and _is_on(one, "reward.kl_weight") == _is_on(other, "reward.kl_weight")


def _is_on(values: Values, key: str) -> bool:
    try:
        return float(text_of(values.get(key)) or 0) > 0
    except ValueError:
        return True


def pace(run: RunFolder) -> Pace | None:
    """What a run's metrics tell of its pace; None before LEAST_STEPS steps."""
    try:
        state, created = run.metrics.stat(), run.run_info.stat()
    except OSError:
        return None
    return _pace(str(run.path), state.st_size, state.st_mtime_ns, created.st_mtime_ns)


@lru_cache(maxsize=256)
def _pace(path: str, size: int, modified_ns: int, described_ns: int) -> Pace | None:
    run = RunFolder(Path(path))
    with open(run.metrics, "rb") as file:
        lines = file.read(_READ_BYTES).split(b"\n")
    records = current(json.loads(line) for line in lines[:-1] if line.startswith(b"{") and line.endswith(b"}"))
    times = [record.get("step_seconds") for record in records if not is_evaluation(record)]
    steps = [float(time) for time in times if isinstance(time, int | float)]
    if len(steps) < LEAST_STEPS:
        return None
    spent = [
        record["time"] - before["time"]
        for before, record in zip(records, records[1:], strict=False)
        if is_evaluation(record) and not is_evaluation(before) and "time" in record and "time" in before
    ]
    first = next((record for record in records if not is_evaluation(record)), None)
    begun = _created(run)
    waited = first["time"] - begun - steps[0] if first and begun and "time" in first else 0.0
    return Pace(median(steps), max(0.0, median(spent)) if spent else 0.0, max(0.0, waited))


def _created(run: RunFolder) -> float | None:
    """When the trainer was started for the first time: the first event, else when the run was made."""
    try:
        with open(run.events, "rb") as file:
            time = json.loads(file.readline()).get("time")
    except (OSError, ValueError, AttributeError):
        return None
    return float(time) if isinstance(time, int | float) else None
