"""The headline of a run: what changed in reward, judge and motion, in plain words, a warning where it looks wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardfl_app.ui.charts import Record, latest, number

# Changes smaller than this (in cosine similarity) are called "unchanged".
NOTICEABLE = 0.005
# Below this share of the base model's motion the face counts as freezing.
MOTION_FLOOR = 0.9


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
    level, sentence = verdict(reward, judge, motion)
    motion_level = "warn" if motion.ratio is not None and motion.ratio < MOTION_FLOOR else "neutral"
    judge_level = "warn" if _diverges(reward, judge) else "neutral"
    if level == "warn" and (parted := parting_step(records)) is not None and parted < at:
        sentence += f" It began at step {parted}."
    return Headline(at, reward, judge, motion, level, sentence, motion_level, judge_level)


def _diverges(reward: Measure, judge: Measure) -> bool:
    """The reward rises noticeably while the judge falls noticeably."""
    return (reward.delta or 0.0) > NOTICEABLE and judge.delta is not None and judge.delta < -NOTICEABLE


def verdict(reward: Measure, judge: Measure, motion: Measure) -> tuple[str, str]:
    """(level, sentence) for a change of the three measures."""
    gain = reward.delta
    if gain is None:
        return "waiting", "The untrained model was not measured, so there is nothing to compare with."
    if gain < -NOTICEABLE:
        return "warn", "Faces resemble the real person less than before training."
    if gain <= NOTICEABLE:
        return "neutral", "No noticeable change of face similarity yet."
    if _diverges(reward, judge):
        return "warn", (
            "Possible reward hacking: the recogniser it trains on scores higher, but the judge, which is never trained "
            f"on, scores lower{_moves(motion)}."
        )
    if motion.ratio is not None and motion.ratio < MOTION_FLOOR:
        return "warn", (
            f"Possible reward hacking: faces resemble the person more, but move only {motion.ratio:.0%} as much as "
            "before. A frozen face is not identity; raise kl_weight."
        )
    moves = _moves(motion)
    if judge.delta is None:
        return "neutral", f"Faces resemble the real person more than before{moves}. No judge is set to confirm it."
    if judge.delta <= NOTICEABLE:
        return "neutral", f"The reward rises{moves}, but the judge does not confirm it yet."
    return "good", f"Faces resemble the real person more than before, the independent judge agrees{moves}."


def _moves(motion: Measure) -> str:
    return f", and motion is {motion.ratio:.0%} of before" if motion.ratio is not None else ""


def parting_step(records: Sequence[Record]) -> int | None:
    """First evaluation step from which on reward and judge (or motion) point apart until the end, or None."""
    parted: int | None = None
    for record in _evaluations(records):
        step = int(number(record.get("step")) or 0)
        if step == 0:
            continue
        reward, judge, motion = (_measure(records, record, name) for name in ("reward", "judge", "motion"))
        apart = _diverges(reward, judge) or (
            (reward.delta or 0.0) > NOTICEABLE and motion.ratio is not None and motion.ratio < MOTION_FLOOR
        )
        parted = (parted if parted is not None else step) if apart else None
    return parted
