"""best.json: the evaluation of a run whose checkpoint is the one to use, chosen by rule from metrics.jsonl.

A step can be the best when at its evaluation the identity is up from the base model (the judge's mean; the reward's
where there is no judge), at least MOTION_KEPT (95%) of the base model's motion is left, and there is no alarm. Among
those, one whose gain is sure (its 95% interval lies above 0) is before one whose gain is not, and then the largest gain
counts; of equal ones the earlier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rewardfl_app.runs import alarm, typed
from rewardfl_app.runs.alarm import MOTION_KEPT, Alarm, Gain, Record
from rewardfl_app.runs.change import number
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

if TYPE_CHECKING:
    from rewardfl_app.runs.folder import RunFolder


@dataclass(frozen=True)
class Best:
    """The best step of a run. `why`: a sentence. `values`: what it was chosen by, means over the evaluation videos."""

    step: int
    why: str
    values: dict[str, float | None]


class Choice:
    """The best of the evaluations that were added, at the same cost for each however many there were."""

    def __init__(self) -> None:
        self.best: Best | None = None
        """None while there is none that the rule allows."""
        self._rank = (False, 0.0)

    def add(self, record: Record, raised: Alarm | None) -> None:
        """Consider the next evaluation after training, at which the alarm is `raised`."""
        identity, name = alarm.gain(record, "judge"), "judge"
        if identity is None:
            identity, name = alarm.gain(record, "reward"), "reward"
        if identity is None or identity.value <= 0 or raised is not None:
            return
        motion = alarm.gain(record, "motion")
        if not _keeps_motion(record, motion):
            return
        rank = (identity.low is not None and identity.low > 0, identity.value)
        if self.best is None or rank > self._rank:
            self._rank = rank
            self.best = _best(record, name, identity, motion)


def choose(records: Sequence[Record], alarms: Mapping[int, Alarm | None] | None = None) -> Best | None:
    """The best evaluation of a run; None while there is none that the rule allows. Records in order of their steps.

    `alarms`: their `alarm.history`, where it is known.
    """
    alarms = alarm.history(records) if alarms is None else alarms
    choice = Choice()
    for record in alarm.after_training(records):
        choice.add(record, alarms[record["step"]])
    return choice.best


def read(run: RunFolder) -> Best | None:
    """What best.json says; None when there is none."""
    content = read_json(run.best) or {}
    step, values = typed.whole(content.get("step")), content.get("values")
    if step is None or not isinstance(values, dict):
        return None
    return Best(step, str(content.get("why") or ""), {str(name): number(value) for name, value in values.items()})


def write(run: RunFolder, best: Best | None) -> None:
    """Replaces best.json; None removes it."""
    if best is None:
        run.best.unlink(missing_ok=True)
    else:
        write_json_atomic(run.best, asdict(best))


def _keeps_motion(record: Record, motion: Gain | None) -> bool:
    """Where the base model's motion was not measured, or was none, there is nothing to keep."""
    before = number(record.get("eval/motion_baseline"))
    if before is None or before <= 0:
        return True
    return motion is not None and motion.ratio is not None and motion.ratio >= MOTION_KEPT


def _best(record: Record, name: str, identity: Gain, motion: Gain | None) -> Best:
    sure = identity.low is not None and identity.low > 0
    sure_text = f"95% interval {identity.low:.3f} to {identity.high:.3f}" if sure else "which may be chance"
    kept = None if motion is None else motion.ratio
    moves = f", with {kept:.0%} of the base model's motion" if kept is not None else ""
    values: dict[str, float | None] = {"motion_kept": kept}
    for measure in ("reward", "judge", "motion"):
        change = alarm.gain(record, measure)
        values[measure] = number(record.get(f"eval/{measure}"))
        values[f"{measure}_gain"] = None if change is None else change.value
        values[f"{measure}_gain_low"] = None if change is None else change.low
        values[f"{measure}_gain_high"] = None if change is None else change.high
    why = f"The {name} is up by {identity.value:.3f} ({sure_text}){moves}, and there is no alarm."
    return Best(record["step"], why, values)
