"""faces.json as a few lines that a person understands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

NUM_WORST = 4
NUM_TRACKS = 10


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """What a scored video comes to: how much it is the person, how that changes, who else is there."""
    yield _headline(report)
    rows = list(_rows(report))
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        yield f"{name.ljust(width)}  {text}"
    for note in report.get("notes") or []:
        yield f"note: {note}"


def similarities(report: Mapping[str, Any]) -> list[float | None]:
    """Per frame the mean over the people seen in it, None where none is."""
    per_frame = [[f["similarity"] for f in frame["faces"] if f["similarity"] is not None] for frame in report["frames"]]
    return [sum(values) / len(values) if values else None for values in per_frame]


def tenths(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Mean of the first and of the last tenth of the frames with a value; None with fewer than three."""
    known = [value for value in values if value is not None]
    length = max(1, round(len(known) / 10))
    return None if len(known) < 3 else (sum(known[:length]) / length, sum(known[-length:]) / length)


def worst(values: Sequence[float | None], count: int = NUM_WORST) -> list[int]:
    """The frames that resemble the person least, apart from one another, the worst first."""
    apart = max(1, len(values) // 20)
    order = sorted((n for n, v in enumerate(values) if n > 0 and v is not None), key=lambda n: values[n] or 0.0)
    chosen: list[int] = []
    for frame in order:
        if len(chosen) < count and all(abs(frame - other) >= apart for other in chosen):
            chosen.append(frame)
    return chosen


def ranges(frames: Sequence[int]) -> str:
    """Frame numbers in order as 3-7, 9, 12-20."""
    parts: list[list[int]] = []
    for frame in frames:
        if parts and frame == parts[-1][1] + 1:
            parts[-1][1] = frame
        else:
            parts.append([frame, frame])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in parts]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more stretches" if len(shown) > 12 else "")


def insightface_line(parity: Mapping[str, Any]) -> str:
    """Whether insightface's own analysis found the same faces."""
    figures = [_count(parity["frames"], "frame"), _count(parity["faces"], "face")]
    if parity["lowest_iou"] is not None:
        figures.append(f"lowest IoU {parity['lowest_iou']:.3f}")
    if parity["lowest_cosine"] is not None:
        figures.append(f"lowest cosine {parity['lowest_cosine']:.5f}")
    if parity["antialiased"]:
        cosine = parity["lowest_antialiased_cosine"]
        large = _count(parity["antialiased"], "large face")
        figures.append(f"{large} averaged where insightface skips pixels (lowest cosine {cosine:.5f})")
    if parity["count_differences"]:
        figures.append(f"another number of faces in frames {ranges(parity['count_differences'])}")
    figures.append(f"{parity['seconds']:.1f} s for what took {parity['own_seconds']:.1f} s here")
    return f"insightface {'agrees' if parity['agrees'] else 'does not agree'}: {', '.join(figures)}"


def _headline(report: Mapping[str, Any]) -> str:
    known = report.get("reference") or {}
    source = known.get("source")
    against = f"{Path(source).name}" if source else "its own first frame"
    people = f" ({_people(known.get('people') or 0)})"
    size = f"{_count(report['num_frames'], 'frame')} of {report['width']} x {report['height']}, {report['fps']:.4g} fps"
    return f"{Path(report['video']).name}: {size}, compared with {against}{people}"


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    values = similarities(report)
    for name in ("reward", "judge"):
        if report.get(name) is not None:
            yield name, f"{report[name]:.3f}"
    longest = sorted(report["tracks"], key=lambda track: -track["frames"])[:NUM_TRACKS]
    for track in sorted(longest, key=lambda track: track["track"]):
        yield f"track {track['track']}", _track(report, track)
    if (others := len(report["tracks"]) - len(longest)) > 0:
        yield "tracks", f"{others} more, all of them shorter"
    faceless, num_frames = report["faceless_frames"], report["num_frames"]
    if faceless and len(faceless) < num_frames:
        yield "no face", f"in {len(faceless)} of {num_frames} frames: {ranges(faceless)}"
    elif not faceless:
        yield "no face", "in none of the frames"
    if num_frames > 1 and (lowest := worst(values)):
        fps = report["fps"]
        shown = [f"{n} ({f'{n / fps:.2f} s, ' if fps else ''}{values[n]:.3f})" for n in lowest]
        yield "worst frames", ", ".join(shown)
    if parity := report.get("insightface"):
        line = insightface_line(parity)
        yield "insightface", line.removeprefix("insightface ")
        for warning in parity["warnings"]:
            yield "insightface", warning


def _track(report: Mapping[str, Any], track: Mapping[str, Any]) -> str:
    """Who it is, the mean similarity and how it changes; frame 0, which may be the reference itself, is left out."""
    length = _count(track["frames"], "frame")
    if track["identity"] is None:
        return f"someone else, {length}"
    faces = [face for frame in report["frames"][1:] for face in frame["faces"] if face["track"] == track["track"]]
    ends = tenths([face["similarity"] for face in faces])
    change = "" if ends is None else f" ({ends[0]:.3f} in its first tenth, {ends[1]:.3f} in its last)"
    mean = "" if track["mean_similarity"] is None else f", similarity {track['mean_similarity']:.3f}{change}"
    who = f"person {track['identity'] + 1}"
    if track.get("unlike"):
        who = f"someone unlike {who}, in their place"
    return f"{who}{mean}, {length}"


def _people(count: int) -> str:
    return "nobody" if not count else "1 person" if count == 1 else f"{count} people"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
