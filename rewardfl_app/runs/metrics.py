"""metrics.jsonl: one record per training step and one per evaluation, appended while readers follow.

Training records hold step, time, loss, reward, kl, grad_norm, learning_rate, step_seconds, peak_memory_gb, face_rate;
evaluation records hold step, time and `eval/NAME` values (see `video_values`), with the base model's beside them as
`eval/NAME_baseline`, the change of the same videos as `eval/NAME_gain` with its 95% interval `eval/NAME_gain_low` and
`eval/NAME_gain_high`, and `eval/alarm`, 1 while the alarm is on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rewardfl_app.runs.jsonlines import JsonLinesReader, JsonLinesWriter, Record, read_all

__all__ = ["MetricsReader", "MetricsWriter", "Record", "current", "is_evaluation", "read_all"]


class MetricsWriter(JsonLinesWriter):
    """The trainer's side of metrics.jsonl."""


class MetricsReader(JsonLinesReader):
    """The page's side of metrics.jsonl."""


def is_evaluation(record: Mapping[str, Any]) -> bool:
    """Whether a record is of an evaluation (it has values named `eval/...`)."""
    return any(key.startswith("eval/") for key in record)


def current(records: Iterable[Record]) -> list[Record]:
    """The records that stand, in the order of their steps.

    A run that is resumed from a checkpoint writes some steps a second time. The later writing counts, and what an
    abandoned stretch had written beyond it no longer does. Records without a step are left out.
    """
    training: dict[int, Record] = {}
    evaluation: dict[int, Record] = {}
    for record in records:
        step = record.get("step")
        if not isinstance(step, int):
            continue
        if is_evaluation(record):
            _forget(evaluation, step)
            _forget(training, step + 1)
            evaluation[step] = record
        else:
            _forget(evaluation, step)
            _forget(training, step)
            training[step] = record
    return sorted(
        [*training.values(), *evaluation.values()], key=lambda record: (record["step"], is_evaluation(record))
    )


def _forget(by_step: dict[int, Record], first: int) -> None:
    while by_step and next(reversed(by_step)) >= first:
        by_step.popitem()
