"""The reward-hacking panel: is the gain real? The training reward against what nobody trains on, relative to the base
model, with the limits of `runs.alarm`, a verdict in words, and what to do.

Shown on Monitor and Compare by `RFL.HackingPanel` (assets/hacking.js).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rewardfl_app.runs import alarm, best
from rewardfl_app.runs.alarm import FACE_RATE_LOST, MOTION_GROSS, MOTION_KEPT, NOTICEABLE, Alarm, Gain, Record
from rewardfl_app.runs.best import Best
from rewardfl_app.runs.change import number
from rewardfl_app.ui.charts import significant

# Changes of measures without an alarm are pointed out from this share of the base model's value on.
_TOLD_FROM = 0.05
# Nobody reads more points than these from a chart of this size.
_MAX_POINTS = 300


@dataclass(frozen=True)
class _Measure:
    """A small chart.

    `limits`: (share of the base model's value, label). `more`, `less`: what a sure change may mean.
    """

    key: str
    title: str
    help: str
    limits: tuple[tuple[float, str], ...] = ()
    more: str = ""
    less: str = ""


_MEASURES = (
    _Measure(
        "motion",
        "Motion of the face",
        "How far the face's landmarks travel. A frozen face is easy to recognise.",
        ((MOTION_KEPT, "alarm, twice running"), (MOTION_GROSS, "alarm at once")),
        less="the face moves less",
    ),
    _Measure(
        "first_frame_distance",
        "Distance to the first frame",
        "How far the picture leaves the frame it was given. A frozen clip is not identity.",
        less="the clip stays nearer to its first frame",
    ),
    _Measure(
        "frame_motion",
        "Motion of the picture",
        "How much neighbouring frames differ.",
        less="the whole picture moves less",
    ),
    _Measure(
        "face_rate",
        "Frames with a face",
        "Frames in which no face is found are not scored.",
        more="faces are found in more frames",
        less="faces are found in fewer frames",
    ),
    _Measure(
        "face_size",
        "Face size",
        "A larger face is easier to recognise, and no better.",
        more="faces are larger, which is easier to recognise",
        less="faces are smaller",
    ),
    _Measure(
        "sharpness",
        "Sharpness",
        "Blur and added grain can both raise a similarity.",
        more="the picture is sharper, or grainier",
        less="the picture is more blurred",
    ),
)
_TO_DO = {
    "judge": (
        "Raise kl_weight: it pulls the model back to the base model.",
        "Lower learning_rate, or train fewer steps: what is learned early is shared by both recognisers.",
    ),
    "motion": (
        "Raise kl_weight, or measure the KL on all steps (kl_steps: expert), which keeps motion better.",
        "Fork the run: compare the motion of both at the same gain.",
    ),
    "face_rate": (
        "Set missing_face_penalty, so that a frame without a face costs something.",
        "Look at the frames without a face on the Faces page.",
    ),
}


def payload(evaluations: Sequence[Record], step: int | None = None) -> dict[str, Any]:
    """What the panel shows of a run.

    Args:
        evaluations: the evaluation records of metrics.jsonl that stand, in the order of their steps.
        step: judge what was known at this step; None for all. The charts show the later evaluations too.

    Returns `level` ("waiting", "good", "neutral" or "warn"), `title`, `sentence`, `since` (the step at which reward and
    truth part, None without an alarm), `to_do` (sentences), `best` (step or None), `chart` (reward against judge, for
    RFL.Chart) and `measures` [{key, said, tone, chart}].
    """
    trained = alarm.after_training(evaluations)
    known = [record for record in trained if step is None or record["step"] <= step]
    alarms = alarm.history(known)
    raised, chosen = alarm.last(alarms), best.choose(known, alarms)
    verdict = _verdict(known, raised)
    marks = [{"step": raised.since, "label": f"they part at step {raised.since}", "role": "warn"}] if raised else []
    if known and step is not None and known[-1]["step"] != trained[-1]["step"]:
        marks.append({"step": known[-1]["step"], "label": f"step {known[-1]['step']}", "role": "real"})
    shown = _thinned(trained)
    return {
        **verdict,
        "since": raised.since if raised else None,
        "best": chosen.step if chosen else None,
        "to_do": _to_do(raised, chosen, known),
        "chart": _gains_chart(shown, marks),
        "measures": [
            row for measure in _MEASURES if (row := _measure_row(measure, shown, known, raised, marks)) is not None
        ],
    }


def _thinned(records: list[Record]) -> list[Record]:
    """Every n-th record and the last one."""
    every = -(-len(records) // _MAX_POINTS) or 1
    return records[:-1][::every] + records[-1:]


def _verdict(known: Sequence[Record], raised: Alarm | None) -> dict[str, str]:
    """level, title and sentence."""

    def said(level: str, title: str, sentence: str) -> dict[str, str]:
        return {"level": level, "title": title, "sentence": sentence}

    if not known:
        waiting = "The first evaluation after the base model's shows whether a gain is real."
        return said("waiting", "Not known yet", waiting)
    if raised is not None:
        return said("warn", f"Doubtful since step {raised.since}", raised.sentence.removesuffix(alarm.ADVICE).strip())
    reward, judge, motion = (alarm.gain(known[-1], name) for name in ("reward", "judge", "motion"))
    if reward is None:
        return said("waiting", "Not known yet", "The base model was not measured, so there is nothing to compare with.")
    if not reward.surely_up:
        text = (
            f"The reward has changed by {reward.value:+.3f}, which may be chance, so there is nothing to be gamed yet."
        )
        return said("neutral", "No sure gain yet", text)
    kept = f" {motion.ratio:.0%} of the motion is kept." if motion is not None and motion.ratio is not None else ""
    if motion is not None and motion.ratio is not None and motion.ratio < MOTION_KEPT:
        text = f"The reward is up by {reward.value:.3f}, but only {motion.ratio:.0%} of the motion is left."
        if motion.high is not None and motion.high < 0:
            text += " When the next evaluation says so too, it is an alarm."
        return said("neutral", "Watch the motion", text)
    if judge is None:
        text = f"The reward is up by {reward.value:.3f}, but no judge is set to confirm it.{kept}"
        return said("neutral", "Not confirmed", text)
    if judge.value <= NOTICEABLE:
        text = (
            f"The reward is up by {reward.value:.3f}, the judge by {judge.value:.3f}: it does not confirm it yet.{kept}"
        )
        return said("neutral", "Not confirmed", text)
    text = (
        f"The reward is up by {reward.value:.3f}, and the judge, which is never trained on, by {judge.value:.3f}.{kept}"
    )
    return said("good", "It looks real", text)


def _to_do(raised: Alarm | None, chosen: Best | None, known: Sequence[Record]) -> list[str]:
    if raised is None:
        return []
    found = []
    if chosen is not None and chosen.step != known[-1]["step"]:
        found.append(f"Use step {chosen.step}, the best by rule: the judge is up, the motion is kept, no alarm.")
    found += [text for reason in raised.reasons for text in _TO_DO[reason]]
    return list(dict.fromkeys(found))


def _gains_chart(shown: Sequence[Record], marks: list[dict[str, Any]]) -> dict[str, Any]:
    """Reward and judge on one axis, as changes from the base model."""
    series = []
    for key, label, role in (("reward", "training reward", "after"), ("judge", "judge", "judge")):
        line = _series(key, label, role, shown, lambda gain, _: (gain.value, gain.low, gain.high), 0.0)
        series += [line] if line else []
    about = "Change from the base model in cosine similarity; the bands are 95% intervals over the same videos."
    level = {"label": "base model", "role": "before", "y": 0.0}
    return _chart("gains", "Reward against judge", about, "", 3, series, [level], marks)


def _measure_row(
    measure: _Measure, shown: Sequence[Record], known: Sequence[Record], raised: Alarm | None, marks: list[Any]
) -> dict[str, Any] | None:
    line = _series(measure.key, measure.title.lower(), "after", shown, _percent, 100.0)
    if line is None:
        return None
    last = alarm.gain(known[-1], measure.key) if known else None
    said, tone = _said(measure, last, raised)
    limits = list(measure.limits)
    before = _before(shown[-1], measure.key)
    if measure.key == "face_rate" and before:
        limits = [(1 - FACE_RATE_LOST / before, "alarm, twice running"), (1 - 2 * FACE_RATE_LOST / before, "at once")]
    lines = [{"label": "base model", "role": "before", "y": 100.0}]
    lines += [{"label": label, "role": "warn", "y": significant(100 * share)} for share, label in limits]
    chart = _chart(measure.key, measure.title, measure.help, "%", 0, [line], lines, marks)
    return {"key": measure.key, "said": said, "tone": tone, "chart": chart}


def _said(measure: _Measure, last: Gain | None, raised: Alarm | None) -> tuple[str, str]:
    """What the last evaluation says of a measure in words, and its tone: "flat", "note" or "warn"."""
    if last is None or last.ratio is None:
        return "not measured", "flat"
    if raised is not None and measure.key in raised.reasons:
        return f"alarm: {measure.less}", "warn"
    # With one video there is no interval, and nothing can be called sure.
    if last.low is None or last.high is None or (last.low <= 0 <= last.high):
        return "no sure change", "flat"
    meaning = measure.more if last.value > 0 else measure.less
    if abs(last.ratio - 1) < _TOLD_FROM or not meaning:
        return "hardly changed" if abs(last.ratio - 1) < _TOLD_FROM else "no concern", "flat"
    return meaning, "note"


def _percent(gain: Gain, before: float) -> tuple[float, float | None, float | None] | None:
    """A change as percent of the base model's value."""
    if gain.ratio is None:
        return None
    low, high = (None if end is None else 100 * (before + end) / before for end in (gain.low, gain.high))
    return 100 * gain.ratio, low, high


Reading = Callable[[Gain, float], tuple[float, float | None, float | None] | None]


def _series(
    key: str, label: str, role: str, shown: Sequence[Record], reading: Reading, base: float
) -> dict[str, Any] | None:
    """A line that starts at the base model, with its band; None where nothing was measured."""
    points: list[tuple[int, float, float, float]] = [(0, base, base, base)]
    for record in shown:
        gain = alarm.gain(record, key)
        read = reading(gain, _before(record, key) or 0.0) if gain else None
        if read is not None:
            value, low, high = read
            points.append((record["step"], value, value if low is None else low, value if high is None else high))
    if len(points) == 1:
        return None
    x, y, low_ends, high_ends = ([significant(value) for value in column] for column in zip(*points, strict=True))
    line = {"key": key, "label": label, "role": role, "marks": True, "x": x, "t": x, "y": y}
    return line if (low_ends, high_ends) == (y, y) else {**line, "band": [low_ends, high_ends]}


def _before(record: Record, name: str) -> float | None:
    return number(record.get(f"eval/{name}_baseline"))


def _chart(
    key: str, title: str, about: str, unit: str, digits: int, series: list[Any], lines: list[Any], marks: list[Any]
) -> dict[str, Any]:
    return {
        "key": key,
        "title": title,
        "help": about,
        "unit": unit,
        "digits": digits,
        "floor": None,
        "wide": False,
        "series": series,
        "lines": lines,
        "marks": marks,
    }
