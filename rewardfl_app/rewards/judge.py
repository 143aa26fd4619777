"""What is measured beside the reward, so that a rising reward can be believed.

judge: mean cosine similarity to the real clip by a recogniser that was not trained on, frame 0 left out;
motion: how far the five landmarks travel around their own mean, in percent of the face's size (a frozen face has none);
sharpness: variance of the Laplacian of the aligned crop, grey levels 0..255 (a blurred face has little);
face_rate: share of the frames (0 left out) that show the main person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.rewards import alignment
from rewardfl_app.rewards.recogniser import Recogniser
from rewardfl_app.rewards.reference import Face, Reference


@dataclass(frozen=True)
class JudgeReference:
    """The judge's normalised embeddings [J, D] of each person of a reference, in the reference's order."""

    pools: list[Tensor]


@dataclass(frozen=True)
class JudgeResult:
    """Measures of one clip, None where there was nothing to measure.

    `similarities`: the judge's, face by face per frame.
    """

    judge: float | None
    motion: float | None
    sharpness: float | None
    face_rate: float
    similarities: list[list[float | None]]


@torch.no_grad()
def reference(judge: Recogniser, frames: Tensor, known: Reference) -> JudgeReference:
    """Embeds the people of a reference from the frames [T, 3, H, W] it was made of (T = 1: the first frame alone)."""
    pools = []
    for person in range(len(known.people)):
        places = [(n, f) for n, faces in enumerate(known.faces) for f in faces if f["identity"] == person]
        places = [place for place in places if place[0] > 0] or places
        pools.append(_embed(judge, frames, [n for n, _ in places], [face for _, face in places]))
    return JudgeReference(pools)


@torch.no_grad()
def measure(
    frames: Tensor, faces: Sequence[Sequence[Face]], judge: Recogniser | None, reference_judge: JudgeReference | None
) -> JudgeResult:
    """Measures a clip [T, 3, H, W] (RGB in [-1, 1]) whose faces were found by the reward; no gradient."""
    frames = frames.detach()
    main = _main_faces(faces)
    similarities: list[list[float | None]] = [[None] * len(frame) for frame in faces]
    score = None
    if judge is not None and reference_judge is not None:
        score = _judge(frames, faces, judge, reference_judge, similarities)
    scored = range(min(1, len(faces) - 1), len(faces))
    return JudgeResult(
        judge=score,
        motion=_motion(list(main.values())),
        sharpness=_sharpness(frames, main),
        face_rate=sum(frame in main for frame in scored) / max(len(scored), 1),
        similarities=similarities,
    )


def _judge(
    frames: Tensor,
    faces: Sequence[Sequence[Face]],
    judge: Recogniser,
    known: JudgeReference,
    similarities: list[list[float | None]],
) -> float | None:
    """Fills in `similarities`; the mean over people of the mean over their frames."""
    means = []
    for person, pool in enumerate(known.pools):
        places = [(n, k) for n, found in enumerate(faces) for k, f in enumerate(found) if f["identity"] == person]
        if not places or not len(pool):
            continue
        embedded = _embed(judge, frames, [n for n, _ in places], [faces[n][k] for n, k in places])
        values = (embedded @ pool.to(embedded).T).mean(1).tolist()
        for (n, k), value in zip(places, values, strict=True):
            similarities[n][k] = value
        later = [value for (n, _), value in zip(places, values, strict=True) if n > 0 or len(faces) == 1]
        if later:
            means.append(sum(later) / len(later))
    return sum(means) / len(means) if means else None


def _embed(judge: Recogniser, frames: Tensor, index: Sequence[int], faces: Sequence[Face]) -> Tensor:
    crops = _crops(frames, index, faces, judge.size)
    return F.normalize(judge(crops.to(next(judge.buffers()))).float(), dim=1)


def _crops(frames: Tensor, index: Sequence[int], faces: Sequence[Face], size: int) -> Tensor:
    landmarks = torch.tensor([face["landmarks"] for face in faces]).reshape(-1, 5, 2)
    transforms = alignment.similarity_transforms(landmarks, size)
    return alignment.crop(frames, torch.tensor(index, dtype=torch.long), transforms, size, eight_bit=True)


def _main_faces(faces: Sequence[Sequence[Face]]) -> dict[int, Face]:
    """Per frame the face of the first person of the reference; without any known person, of the longest track."""
    chosen = {n: face for n, found in enumerate(faces) for face in found if face["identity"] == 0}
    if chosen:
        return chosen
    count = Counter(face["track"] for found in faces for face in found)
    longest = max(count, key=lambda track: (count[track], -track)) if count else None
    return {n: face for n, found in enumerate(faces) for face in found if face["track"] == longest}


def _motion(faces: Sequence[Face]) -> float | None:
    """100 * mean over frames and landmarks of the distance to the landmark's mean, over the mean root of box area."""
    if len(faces) < 2:
        return None
    points = torch.tensor([face["landmarks"] for face in faces], dtype=torch.float64)
    boxes = torch.tensor([face["bbox"] for face in faces], dtype=torch.float64)
    size = (boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1).sqrt().mean()
    travel = torch.linalg.vector_norm(points - points.mean(0), dim=-1).mean()
    return float(100 * travel / size) if size > 0 else None


def _sharpness(frames: Tensor, faces: dict[int, Face]) -> float | None:
    if not faces:
        return None
    crops = (_crops(frames, list(faces), list(faces.values()), 112).float().clamp(-1, 1) + 1) * 127.5
    grey = (crops * crops.new_tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    laplacian = crops.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return float(F.conv2d(grey, laplacian[None, None]).flatten(1).var(1, unbiased=False).mean())
