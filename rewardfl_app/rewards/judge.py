"""What is measured beside the reward, so that a rising reward can be believed.

judge: mean cosine similarity to the real clip by a recogniser that was not trained on, frame 0 left out;
similarity_drift, judge_drift: similarity in the last tenth of the frames minus that in the first (a person who turns
    into somebody else has a negative one), by the reward's recogniser and by the judge, frame 0 left out;
motion: how far the five landmarks travel around their own mean, in percent of the face's size (a frozen face has none);
frame_motion, first_frame_distance: the same question to the whole picture, see `motion`;
sharpness: variance of the Laplacian of the aligned crop, grey levels 0..255 (a blurred face has little);
face_size: mean root of the box's area, in pixels (a face that grows is easier to score);
yaw_spread, pitch_spread: standard deviation of where the head points to, in degrees (one that is held still has none);
face_rate: share of the frames (0 left out) that show the main person.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rewardfl_app.rewards import motion as whole_picture
from rewardfl_app.rewards.observation import FrameFaces
from rewardfl_app.rewards.reference import Face, Reference


@dataclass(frozen=True)
class JudgeReference:
    """The judge's normalised embeddings [J, D] of each person of a reference, in the reference's order."""

    pools: list[Tensor]


@dataclass(frozen=True)
class JudgeResult:
    """Measures of one clip, None where there was nothing to measure.

    `similarities`: the judge's, face by face per frame. `similarity_curve` and `judge_curve`: per frame the mean over
    its people, by the reward's recogniser and by the judge; None in a frame without them.
    """

    judge: float | None
    motion: float | None
    sharpness: float | None
    face_rate: float
    similarities: list[list[float | None]]
    frame_motion: float | None = None
    first_frame_distance: float | None = None
    face_size: float | None = None
    yaw_spread: float | None = None
    pitch_spread: float | None = None
    similarity_curve: list[float | None] = field(default_factory=list)
    judge_curve: list[float | None] = field(default_factory=list)

    @property
    def similarity_drift(self) -> float | None:
        """Last tenth minus first tenth of the similarity by the reward's recogniser."""
        return drift(self.similarity_curve)

    @property
    def judge_drift(self) -> float | None:
        """Last tenth minus first tenth of the similarity by the judge."""
        return drift(self.judge_curve)


def reference(seen: Sequence[FrameFaces], known: Reference) -> JudgeReference | None:
    """The judge's view of the people of a reference, from what was observed of its frames; None without a judge."""
    if any(frame.judge is None for frame in seen):
        return None
    pools = []
    for person in range(len(known.people)):
        places = [(n, k) for n, found in enumerate(known.faces) for k, f in enumerate(found) if f["identity"] == person]
        places = [place for place in places if place[0] > 0] or places
        pools.append(_gathered(seen, places))
    return JudgeReference(pools)


def measure(
    seen: Sequence[FrameFaces], faces: Sequence[Sequence[Face]], reference_judge: JudgeReference | None
) -> JudgeResult:
    """Measures a clip whose frames were observed, and whose faces (with identities) the reward has described."""
    main = _main_faces(faces)
    similarities: list[list[float | None]] = [[None] * len(frame) for frame in faces]
    scored = range(min(1, len(faces) - 1), len(faces))
    pictures = [frame.thumbnail for frame in seen if frame.thumbnail is not None]
    poses = [face["pose"] for face in main.values() if face["pose"] is not None]
    return JudgeResult(
        judge=None if reference_judge is None else _judge(seen, faces, reference_judge, similarities),
        motion=_motion(list(main.values())),
        sharpness=_mean([face["sharpness"] for face in main.values()]),
        face_rate=sum(frame in main for frame in scored) / max(len(scored), 1),
        similarities=similarities,
        frame_motion=whole_picture.frame_motion(pictures),
        first_frame_distance=whole_picture.first_frame_distance(pictures),
        face_size=_mean([face["size"] for face in main.values()]),
        yaw_spread=_spread([pose["yaw"] for pose in poses]),
        pitch_spread=_spread([pose["pitch"] for pose in poses]),
        similarity_curve=[_mean([face["similarity"] for face in frame]) for frame in faces],
        judge_curve=[_mean(frame) for frame in similarities],
    )


def drift(curve: Sequence[float | None]) -> float | None:
    """Mean of the last tenth minus mean of the first tenth of a similarity per frame, frame 0 and gaps left out.

    A tenth is at least one frame. None with fewer than two frames that have a value.
    """
    known = [value for value in curve[1:] if value is not None]
    if len(known) < 2:
        return None
    tenth = max(1, len(known) // 10)
    return (math.fsum(known[-tenth:]) - math.fsum(known[:tenth])) / tenth


def _judge(
    seen: Sequence[FrameFaces],
    faces: Sequence[Sequence[Face]],
    known: JudgeReference,
    similarities: list[list[float | None]],
) -> float | None:
    """Fills in `similarities`; the mean over people of the mean over their frames."""
    means = []
    for person, pool in enumerate(known.pools):
        places = [(n, k) for n, found in enumerate(faces) for k, f in enumerate(found) if f["identity"] == person]
        if not places or not len(pool):
            continue
        # The mean of the cosines to the pool is the product with its mean.
        values = (_gathered(seen, places) @ pool.mean(0)).tolist()
        for (n, k), value in zip(places, values, strict=True):
            similarities[n][k] = value
        later = [value for (n, _), value in zip(places, values, strict=True) if n > 0 or len(faces) == 1]
        if later:
            means.append(sum(later) / len(later))
    return sum(means) / len(means) if means else None


def _gathered(seen: Sequence[FrameFaces], places: Sequence[tuple[int, int]]) -> Tensor:
    """The judge's embeddings [n, D] of faces given as (frame, place)."""
    found = [judged[k] for n, k in places if (judged := seen[n].judge) is not None]
    return torch.stack(found) if found else torch.zeros(0, 0)


def _main_faces(faces: Sequence[Sequence[Face]]) -> dict[int, Face]:
    """Per frame the face of the first person of the reference; without any known person, of the longest track."""
    chosen = {n: face for n, found in enumerate(faces) for face in found if face["identity"] == 0}
    if chosen:
        return chosen
    count = Counter(face["track"] for found in faces for face in found)
    longest = max(count, key=lambda track: (count[track], -track)) if count else None
    return {n: face for n, found in enumerate(faces) for face in found if face["track"] == longest}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _spread(values: Sequence[float]) -> float | None:
    """Standard deviation around the mean; None with fewer than two values."""
    return statistics.pstdev(values) if len(values) > 1 else None


def _motion(faces: Sequence[Face]) -> float | None:
    """100 * mean over frames and landmarks of the distance to the landmark's mean, over the mean root of box area."""
    if len(faces) < 2:
        return None
    points = torch.tensor([face["landmarks"] for face in faces], dtype=torch.float64)
    boxes = torch.tensor([face["bbox"] for face in faces], dtype=torch.float64)
    size = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1).sqrt().mean()
    travel = torch.linalg.vector_norm(points - points.mean(0), dim=-1).mean()
    return float(100 * travel / size) if size > 0 else None
