"""values.json beside the videos of an evaluation: every measure and curve of each, unrounded, and what they come to.

From these the means, the paired changes from the base model and their intervals are computed, so a resumed run says the
same to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rewardfl_app.runs.change import mean, mean_change, number
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.samples import values_file

# What is measured on every video, whatever the rewards.
MEASURES = (
    "reward",
    "judge",
    "similarity_drift",
    "judge_drift",
    "motion",
    "frame_motion",
    "first_frame_distance",
    "face_rate",
    "face_size",
    "sharpness",
    "yaw_spread",
    "pitch_spread",
)
CURVES = ("similarity_curve", "judge_curve")
_CURVE_DIGITS = 4

Values = dict[str, float | None]


@dataclass(frozen=True)
class VideoValues:
    """What was measured on one video: numbers by name, and curves with one value per frame; None where nothing was."""

    measures: Values
    curves: dict[str, list[float | None]] = field(default_factory=dict)


def write(run: RunFolder, step: int, videos: Mapping[str, VideoValues]) -> None:
    """Writes values.json of the videos, by name, after `step` updates (0: the base model)."""
    write_json_atomic(values_file(run, step), {"videos": {name: asdict(video) for name, video in videos.items()}})


def read(run: RunFolder, step: int) -> dict[str, VideoValues] | None:
    """What `write` wrote; None when there is none. A video without measures, and what is no number, is left out."""
    content = (read_json(values_file(run, step)) or {}).get("videos")
    if not isinstance(content, dict):
        return None
    return {
        name: VideoValues(_numbers(video["measures"]), _curves(video.get("curves")))
        for name, video in content.items()
        if isinstance(video, dict) and isinstance(video.get("measures"), dict)
    }


def _numbers(measures: Mapping[str, object]) -> Values:
    return {name: number(value) for name, value in measures.items()}


def _curves(content: object) -> dict[str, list[float | None]]:
    named = content.items() if isinstance(content, dict) else ()
    return {name: [number(value) for value in curve] for name, curve in named if isinstance(curve, list)}


def evaluation_record(
    videos: Mapping[str, VideoValues], base: Mapping[str, VideoValues] | None = None
) -> dict[str, Any]:
    """What metrics.jsonl says of an evaluation.

    `eval/NAME`: mean over the videos. With the base model's videos also `eval/NAME_baseline`, `eval/NAME_gain`: mean
    change of the same videos, and `eval/NAME_gain_low` and `_gain_high`: its 95% interval (None with one video).
    `eval/similarity_curve` and `eval/judge_curve`: mean by frame, where they were measured.
    """
    record: dict[str, Any] = {}
    for name in dict.fromkeys(name for video in videos.values() for name in video.measures):
        after = [video.measures.get(name) for video in videos.values()]
        record[f"eval/{name}"] = mean(after)
        if base is not None:
            before = [base[key].measures.get(name) if key in base else None for key in videos]
            change = mean_change(before, after)
            record[f"eval/{name}_baseline"] = mean([video.measures.get(name) for video in base.values()])
            record[f"eval/{name}_gain"] = None if change is None else change.delta
            record[f"eval/{name}_gain_low"] = None if change is None else change.low
            record[f"eval/{name}_gain_high"] = None if change is None else change.high
    for name in CURVES:
        if any(curve := _mean_curve([video.curves.get(name, []) for video in videos.values()])):
            record[f"eval/{name}"] = curve
    return record


def to_numbers(own: Mapping[int, VideoValues], count: int, measures: Sequence[str], num_frames: int) -> list[float]:
    """A process's share of `count` videos, by place, as numbers that all processes can add up; see `from_numbers`."""
    width = len(measures) + len(CURVES) * num_frames
    numbers = [0.0] * (2 * width * count)
    for place, video in own.items():
        curves = [(video.curves.get(name, []) + [None] * num_frames)[:num_frames] for name in CURVES]
        values = [*(video.measures.get(name) for name in measures), *(value for curve in curves for value in curve)]
        for at, raw in enumerate(values, start=place * width):
            if (value := number(raw)) is not None:
                numbers[2 * at : 2 * at + 2] = [value, 1.0]
    return numbers


def from_numbers(numbers: Sequence[float], count: int, measures: Sequence[str], num_frames: int) -> list[VideoValues]:
    """All videos in their order, from the sum over the processes of their `to_numbers`."""
    known = [value if there else None for value, there in zip(numbers[::2], numbers[1::2], strict=True)]
    width = len(measures) + len(CURVES) * num_frames
    videos = []
    for place in range(count):
        part = known[place * width : (place + 1) * width]
        curves = [part[len(measures) + n * num_frames :][:num_frames] for n in range(len(CURVES))]
        kept = {name: curve for name, curve in zip(CURVES, curves, strict=True) if any(v is not None for v in curve)}
        videos.append(VideoValues(dict(zip(measures, part, strict=False)), kept))
    return videos


def _mean_curve(curves: Sequence[Sequence[float | None]]) -> list[float | None]:
    frames = range(max(map(len, curves), default=0))
    means = [mean([curve[frame] for curve in curves if frame < len(curve)]) for frame in frames]
    return [None if value is None else round(value, _CURVE_DIGITS) for value in means]
