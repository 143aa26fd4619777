"""One sentence on the faces of a clip, in plain words, from the content of its faces.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rewardfl_app.runs import typed
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
    frames = _faces(report)
    total = len(frames)
    if not total:
        return Summary("This video has not been scored.", "flat")
    without = [index for index, faces in enumerate(frames) if not faces]
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
    falls = any(track.get("unlike") for track in _objects(report.get("tracks"))) or any(
        _ends(curve)[1] < _ends(curve)[0] - STEADY for curve in people.values()
    )
    level: Level = "warn" if without else "flat" if falls else "good"
    text = "; ".join(parts)
    return Summary((text[0].upper() + text[1:] + ".").replace(" -0", " −0").replace("(-0", "(−0"), level)


def curves(report: Mapping[str, Any]) -> dict[int, dict[int, float]]:
    """{identity: {frame: similarity}} of those who were recognised; identities may come from the tracks alone."""
    tracks = _objects(report.get("tracks"))
    owner = {typed.whole(track.get("track")): typed.whole(track.get("identity")) for track in tracks}
    found: dict[int, dict[int, float]] = {}
    for index, faces in enumerate(_faces(report)):
        for face in faces:
            known = owner.get(typed.whole(face.get("track")))
            who = typed.whole(face["identity"]) if "identity" in face else known
            value = number(face.get("similarity"))
            if who is not None and value is not None:
                found.setdefault(who, {})[index] = value
    return found


def _faces(report: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The faces of each frame; of a file by others, what has their form."""
    frames = report.get("frames")
    listed = frames if isinstance(frames, list) else []
    return [_objects(frame.get("faces")) if isinstance(frame, dict) else [] for frame in listed]


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


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
    for track in _objects(report.get("tracks")):
        who = typed.whole(track.get("identity"))
        if track.get("unlike") and who is not None:
            count[who] = count.get(who, 0) + (typed.whole(track.get("frames")) or 0)
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
