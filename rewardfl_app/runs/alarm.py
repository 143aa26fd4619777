"""The alarm: a rising reward that is no improvement, told from the evaluation records of metrics.jsonl alone.

At every evaluation after the base model's, all changes are those of the same videos from the base model, with their 95%
intervals. There is nothing to warn of unless the reward is *surely up*: its interval is above 0 and its mean above
NOTICEABLE. Then these are reasons:

judge      the judge does not follow: the upper end of its interval is below FOLLOWS (a tenth) of the reward's gain;
           or it falls back: it is below the best it has reached by more than FALLEN half intervals and 2 NOTICEABLE,
           while the reward is higher than it was then;
motion     less than MOTION_KEPT of the base model's motion is left, and the whole interval of its change is below 0;
face_rate  faces are found in a share of the frames that is lower by more than FACE_RATE_LOST: what is not seen is not
           scored.

The alarm is raised when a reason holds in two evaluations running, or at once where it is gross: the judge is surely
down, by more than CLEAR; less than MOTION_GROSS of the motion is left; twice as many faces are missing. It ends when no
reason holds any more. With a single video there is no interval: a change is then sure when it is more than CLEAR, and
only gross loss of motion counts.

On made-up runs of ten evaluations of eight videos (noise 0.03 of a similarity, 12% of a motion, new in each evaluation)
it fires in none of noise alone, in 1% of those whose judge follows by half, and in all whose judge falls by 40% of what
the reward gains or whose motion falls to 80%.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from rewardfl_app.runs.change import number

Record = Mapping[str, Any]

NOTICEABLE = 0.005  # cosine similarity: smaller changes are called unchanged
CLEAR = 0.02  # cosine similarity: what counts as sure without an interval
FOLLOWS = 0.1  # share of the reward's gain
FALLEN = 1.5  # half intervals of the judge's gain
MOTION_KEPT = 0.95  # share of the base model's motion
MOTION_GROSS = 0.85  # the same, where one evaluation is enough
FACE_RATE_LOST = 0.05  # share of the frames; twice as much where one evaluation is enough

ADVICE = "Raise kl_weight, or use an earlier checkpoint."


@dataclass(frozen=True)
class Gain:
    """Mean change of a measure from the base model, with the ends of its 95% interval (None with one video).

    `ratio`: after / before, None when before is not above 0.
    """

    value: float
    low: float | None
    high: float | None
    ratio: float | None

    @property
    def surely_up(self) -> bool:
        """Above 0 beyond doubt and more than NOTICEABLE."""
        return self.value > CLEAR if self.low is None else self.low > 0 and self.value > NOTICEABLE

    @property
    def surely_down(self) -> bool:
        """Below 0 beyond doubt and more than NOTICEABLE."""
        return self.value < -CLEAR if self.high is None else self.high < 0 and self.value < -NOTICEABLE


@dataclass(frozen=True)
class Alarm:
    """What is wrong at an evaluation.

    `step`: of the evaluation. `since`: the step at which it began. `reasons`: "judge", "motion", "face_rate".
    `sentence`: for people.
    """

    step: int
    since: int
    reasons: tuple[str, ...]
    sentence: str


def gain(record: Record, name: str) -> Gain | None:
    """The change of a measure that an evaluation record tells; None where it or the base model was not measured."""
    after, before, value, low, high = (number(record.get(key)) for key in _keys(name))
    if after is None or before is None:
        return None
    return Gain(after - before if value is None else value, low, high, after / before if before > 0 else None)


@cache
def _keys(name: str) -> tuple[str, ...]:
    """Mean, base model's mean, gain and its interval: a page asks for them at every tick."""
    return tuple(f"eval/{name}{part}" for part in ("", "_baseline", "_gain", "_gain_low", "_gain_high"))


def after_training(records: Iterable[Record]) -> list[Record]:
    """The evaluation records of a run that are not the base model's, in their order."""
    return [record for record in records if is_after_training(record)]


def is_after_training(record: Record) -> bool:
    """Whether it is the record of an evaluation that is not the base model's."""
    return "eval/reward" in record and isinstance(record.get("step"), int) and record["step"] > 0


class Watch:
    """The alarm of a run from one evaluation to the next, at the same cost however many there were."""

    def __init__(self) -> None:
        self.alarm: Alarm | None = None
        """That at the last evaluation, None while there is none."""
        self._best: _Peak | None = None
        self._before: dict[str, _Reason] = {}
        self._since: dict[str, int] = {}

    def add(self, record: Record) -> Alarm | None:
        """The alarm at the next evaluation; the base model's changes nothing."""
        if not is_after_training(record):
            return self.alarm
        step: int = record["step"]
        reward, judge = gain(record, "reward"), gain(record, "judge")
        reasons = _reasons(record, self._best) if reward is not None and reward.surely_up else {}
        self._since = {name: self._since.get(name, step) for name in reasons}
        raised = {name: reason for name, reason in reasons.items() if reason.is_gross or name in self._before}
        self.alarm = _alarm(step, min(self._since[name] for name in raised), raised) if raised else None
        self._before = reasons
        if judge is not None and reward is not None and (self._best is None or judge.value > self._best.judge.value):
            self._best = _Peak(step, judge, reward)
        return self.alarm


def history(records: Iterable[Record]) -> dict[int, Alarm | None]:
    """Whether there is an alarm at each evaluation of a run, by step; records in the order of their steps."""
    watch = Watch()
    return {record["step"]: watch.add(record) for record in after_training(records)}


def current(records: Iterable[Record]) -> Alarm | None:
    """The alarm at the last evaluation of a run; None when there is none."""
    return last(history(records))


def last(alarms: Mapping[int, Alarm | None]) -> Alarm | None:
    """The alarm at the last evaluation of a `history`."""
    return alarms[max(alarms)] if alarms else None


@dataclass(frozen=True)
class _Peak:
    """The evaluation at which the judge was highest so far."""

    step: int
    judge: Gain
    reward: Gain


@dataclass(frozen=True)
class _Reason:
    text: str
    is_gross: bool


def _reasons(record: Record, best: _Peak | None) -> dict[str, _Reason]:
    """What is wrong at an evaluation whose reward is surely up."""
    found = {}
    reward, judge, motion, faces = (gain(record, name) for name in ("reward", "judge", "motion", "face_rate"))
    if reward is not None and judge is not None and (reason := _judge_parts(reward, judge, best)):
        found["judge"] = reason
    if motion is not None and motion.ratio is not None:
        gross = motion.ratio < MOTION_GROSS
        if (motion.ratio < MOTION_KEPT and motion.high < 0) if motion.high is not None else gross:
            found["motion"] = _Reason(
                f"the face moves only {motion.ratio:.0%} as much as before, and a frozen face is not identity", gross
            )
    if faces is not None and faces.value < -FACE_RATE_LOST:
        text = f"faces are missing in {-faces.value:.0%} more of the frames, and only those that are found are scored"
        found["face_rate"] = _Reason(text, faces.value < -2 * FACE_RATE_LOST)
    return found


def _judge_parts(reward: Gain, judge: Gain, best: _Peak | None) -> _Reason | None:
    """How reward and judge part, if they do."""
    if judge.surely_down if judge.high is None else judge.high < FOLLOWS * reward.value:
        text = f"the reward is up by {reward.value:.3f}, the judge, which is never trained on, by {judge.value:.3f}"
        if judge.low is not None and judge.high is not None:
            text += f" (95% interval {judge.low:.3f} to {judge.high:.3f})"
        return _Reason(text, judge.surely_down and judge.value < -CLEAR)
    half = CLEAR if judge.high is None else judge.high - judge.value
    if best is None or reward.value <= best.reward.value:
        return None
    fallen = best.judge.value - judge.value
    if fallen <= max(FALLEN * half, 2 * NOTICEABLE):
        return None
    rose = reward.value - best.reward.value
    return _Reason(
        f"since step {best.step} the judge, which is never trained on, has fallen by {fallen:.3f} while the reward "
        f"rose by {rose:.3f}",
        False,
    )


def _alarm(step: int, since: int, reasons: dict[str, _Reason]) -> Alarm:
    said = "; ".join(reason.text for reason in reasons.values())
    sentence = f"Possible reward hacking since step {since}: {said}. {ADVICE}"
    return Alarm(step, since, tuple(reasons), sentence)
