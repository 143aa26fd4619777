"""The headline of a run: what changed in reward, judge and motion, in plain words, the alarm where there is one, and
which step is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardfl_app.runs import alarm, best
from rewardfl_app.runs.alarm import MOTION_KEPT, NOTICEABLE
from rewardfl_app.ui.charts import Record, latest, number


@dataclass(frozen=True)
class Measure:
    """One quantity before and after; None where not measured."""

    before: float | None
    after: float | None

    @property
    def delta(self) -> float | None:
        """after - before."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before

    @property
    def ratio(self) -> float | None:
        """after / before, None when before is 0."""
        if self.before is None or self.after is None or self.before == 0:
            return None
        return self.after / self.before


@dataclass(frozen=True)
class Headline:
    """What the tiles say. `level` is "waiting", "good", "neutral" or "warn"; `sentence` says it in plain words."""

    step: int | None
    reward: Measure
    judge: Measure
    motion: Measure
    level: str
    sentence: str
    motion_level: str
    judge_level: str


def _evaluations(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if number(record.get("eval/reward")) is not None]


def _measure(records: Sequence[Record], last: Record, name: str) -> Measure:
    first = _evaluations(records)[0]
    before = latest(records, f"eval/{name}_baseline")
    if before is None and first.get("step") == 0:
        before = number(first.get(f"eval/{name}"))
    return Measure(before, number(last.get(f"eval/{name}")))


def headline(records: Sequence[Record], step: int | None = None) -> Headline:
    """The headline at the newest evaluation, or at the newest one not after `step`."""
    evaluations = [r for r in _evaluations(records) if step is None or (number(r.get("step")) or 0) <= step]
    nothing = Measure(None, None)
    if not evaluations:
        waiting = "The untrained model is measured first; the change appears here after the first evaluation."
        return Headline(None, nothing, nothing, nothing, "waiting", waiting, "neutral", "neutral")
    last = evaluations[-1]
    reward, judge, motion = (_measure(records, last, name) for name in ("reward", "judge", "motion"))
    at = int(number(last.get("step")) or 0)
    if at == 0:
        sentence = "This is the untrained model. The change appears here after the first evaluation."
        only = [Measure(measure.after, None) for measure in (reward, judge, motion)]
        return Headline(0, only[0], only[1], only[2], "waiting", sentence, "neutral", "neutral")
    alarms = alarm.history(evaluations)
    raised, chosen = alarm.last(alarms), best.choose(evaluations, alarms)
    level, sentence = ("warn", raised.sentence) if raised is not None else verdict(reward, judge, motion)
    if chosen is not None and chosen.step != at:
        sentence += f" The best step so far is {chosen.step}."
    motion_level = "warn" if motion.ratio is not None and motion.ratio < MOTION_KEPT else "neutral"
    judge_level = "warn" if raised is not None and "judge" in raised.reasons else "neutral"
    return Headline(at, reward, judge, motion, level, sentence, motion_level, judge_level)


def verdict(reward: Measure, judge: Measure, motion: Measure) -> tuple[str, str]:
    """(level, sentence) for a change of the three measures at which there is no alarm."""
    gain = reward.delta
    if gain is None:
        return "waiting", "The untrained model was not measured, so there is nothing to compare with."
    if gain < -NOTICEABLE:
        return "warn", "Faces resemble the real person less than before training."
    if gain <= NOTICEABLE:
        return "neutral", "No noticeable change of face similarity yet."
    moves = _moves(motion)
    if judge.delta is None:
        return "neutral", f"Faces resemble the real person more than before{moves}. No judge is set to confirm it."
    if motion.ratio is not None and motion.ratio < MOTION_KEPT:
        return "neutral", f"Faces resemble the real person more than before, but move only {motion.ratio:.0%} as much."
    if judge.delta <= NOTICEABLE:
        return "neutral", f"The reward rises{moves}, but the judge does not confirm it yet."
    return "good", f"Faces resemble the real person more than before, the independent judge agrees{moves}."


def _moves(motion: Measure) -> str:
    return f", and motion is {motion.ratio:.0%} of before" if motion.ratio is not None else ""
