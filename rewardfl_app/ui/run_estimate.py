"""How long a run will take, told by earlier runs of the same shape; nothing is said where there are none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median

from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.runs import typed
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonlines import records_of
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
    try:
        with open_plain(run.metrics) as file:
            text = file.read(_READ_BYTES)
    except OSError:
        return None
    records = current(records_of(text[: text.rfind(b"\n") + 1]))
    times = [typed.seconds(record.get("step_seconds")) for record in records if not is_evaluation(record)]
    steps = [time for time in times if time is not None]
    if len(steps) < LEAST_STEPS:
        return None
    at = [typed.seconds(record.get("time")) for record in records]
    spent = [
        after - before
        for (one, before), (other, after) in pairwise(zip(records, at, strict=True))
        if is_evaluation(other) and not is_evaluation(one) and before is not None and after is not None
    ]
    first = next((time for record, time in zip(records, at, strict=True) if not is_evaluation(record)), None)
    begun = _created(run)
    waited = first - begun - steps[0] if first is not None and begun else 0.0
    return Pace(median(steps), max(0.0, median(spent)) if spent else 0.0, max(0.0, waited))


def _created(run: RunFolder) -> float | None:
    """When the trainer was started for the first time: the first event, else when the run was made."""
    try:
        with open_plain(run.events) as file:
            events = records_of(file.readline(_READ_BYTES))
    except OSError:
        return None
    return typed.seconds(events[0].get("time")) if events else None
