"""One sentence on the faces of a clip, in plain words, from the content of its faces.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rewardfl_app.ui.charts import number

Level = Literal["good", "warn", "flat"]

# Cosine similarity: a smaller change over the clip is noise.
STEADY = 0.03
MOST_PEOPLE = 3


@dataclass(frozen=True)
class Summary:
    """`sentence` for people; `level` is warn where a face is missing, good where the person is kept."""

    sentence: str
    level: Level


def summary(report: Mapping[str, Any]) -> Summary:
    """What the curve shows: how the similarity moves, how many frames have no face, which frame is worst.

    Frames are counted from 1, as the player does.
    """
    frames = report.get("frames") or []
    total = len(frames)
    if not total:
        return Summary("This video has not been scored.", "flat")
    without = [index for index, frame in enumerate(frames) if not frame.get("faces")]
    if len(without) == total:
        place = "this frame" if total == 1 else f"any of the {total} frames"
        return Summary(f"No face was found in {place}.", "warn")
    people = curves(report)
    if not people:
        alone = "the one frame" if total == 1 else f"{total - len(without)} of {total} frames"
        return Summary(f"Faces were found in {alone}, but nobody of the reference is among them.", "warn")
    parts = [_course(who, people[who], len(people) > 1) for who in sorted(people)[:MOST_PEOPLE]]
    if len(people) > MOST_PEOPLE:
        parts.append(f"{len(people) - MOST_PEOPLE} more people")
    parts += _strangers(report, len(people) > 1)
    if without:
        parts.append(f"{_frames(len(without))} without a face")
    elif total > 1:
        parts.append("a face in every frame")
    worst, where = min((value, index) for curve in people.values() for index, value in curve.items())
    if total > 1:
        parts.append(f"worst at frame {where + 1} ({worst:.2f})")
    falls = any(track.get("unlike") for track in report.get("tracks") or []) or any(
        _ends(curve)[1] < _ends(curve)[0] - STEADY for curve in people.values()
    )
    level: Level = "warn" if without else "flat" if falls else "good"
    text = "; ".join(parts)
    return Summary((text[0].upper() + text[1:] + ".").replace(" -0", " −0").replace("(-0", "(−0"), level)


def curves(report: Mapping[str, Any]) -> dict[int, dict[int, float]]:
    """{identity: {frame: similarity}} of those who were recognised; identities may come from the tracks alone."""
    owner = {track.get("track"): track.get("identity") for track in report.get("tracks") or []}
    found: dict[int, dict[int, float]] = {}
    for index, frame in enumerate(report.get("frames") or []):
        for face in frame.get("faces") or []:
            who = face.get("identity", owner.get(face.get("track")))
            value = number(face.get("similarity"))
            if isinstance(who, int) and value is not None:
                found.setdefault(who, {})[index] = value
    return found


def _course(who: int, curve: Mapping[int, float], several: bool) -> str:
    first, last = _ends(curve)
    name = f"person {who + 1}" if several else "similarity"
    if len(curve) == 1:
        return f"{name} is {first:.2f}"
    if abs(last - first) <= STEADY:
        low, high = min(_later(curve)), max(_later(curve))
        if high - low <= STEADY:
            return f"{name} holds at {(first + last) / 2:.2f} over the clip"
        return f"{name} stays between {low:.2f} and {high:.2f}"
    return f"{name} {'falls' if last < first else 'rises'} from {first:.2f} to {last:.2f} over the clip"


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _strangers(report: Mapping[str, Any], several: bool) -> list[str]:
    """Tracks that count for a person by their place alone, without looking like them."""
    count: dict[int, int] = {}
    for track in report.get("tracks") or []:
        if track.get("unlike") and isinstance(track.get("identity"), int):
            count[track["identity"]] = count.get(track["identity"], 0) + int(track.get("frames") or 0)
    return [
        f"someone unlike {f'person {who + 1}' if several else 'the person'} in their place in {_frames(frames)}"
        for who, frames in sorted(count.items())
    ]


def _ends(curve: Mapping[int, float]) -> tuple[float, float]:
    """Mean of the first and of the last tenth."""
    values = _later(curve)
    tenth = max(1, len(values) // 10)
    return _mean(values[:tenth]), _mean(values[-tenth:])


def _later(curve: Mapping[int, float]) -> list[float]:
    """The values in the order of the frames; frame 0 is given to the model, so it is left out where there is more."""
    return [curve[index] for index in sorted(curve) if index > 0] or list(curve.values())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
