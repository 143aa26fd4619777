"""The people of a real clip: what generated faces are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor

_ROWS_AT_ONCE = 1024

Pool = Literal["mean", "centroid", "max", "first_frame"]


class Pose(TypedDict):
    """Where a head points to, in degrees (see `rewards.pose`)."""

    pitch: float
    yaw: float
    roll: float


class Face(TypedDict):
    """One face of one frame, in pixels of the frame; None where not measured or where nobody was recognised.

    `identity` is the place of the person in the reference. The keys are those of faces.json; size, sharpness, pose, age
    and sex are those of `observation.Details`.
    """

    track: int
    identity: int | None
    bbox: list[float]
    landmarks: list[list[float]]
    det_score: float
    similarity: float | None
    judge_similarity: float | None
    size: float | None
    sharpness: float | None
    pose: Pose | None
    age: int | None
    sex: str | None


class TrackSummary(TypedDict):
    """One track of a clip; `frames` is the number of frames that show it.

    `unlike`: it counts for its person because it is where they should be, not because it looks like them: a face that
    drifted away, or somebody else after a cut.
    """

    track: int
    identity: int | None
    mean_similarity: float | None
    frames: int
    unlike: bool


@dataclass(frozen=True)
class Person:
    """One identity of the reference.

    `pool` [J, D]: normalised embeddings of the real frames (frame 0 excluded unless there is no other). `first` [D]:
    the normalised embedding in the first frame, None if it does not show this person. `visible`: real frames that do.
    """

    pool: Tensor
    first: Tensor | None
    visible: frozenset[int]

    def similarity(self, embeddings: Tensor, pool: Pool) -> Tensor:
        """Cosine similarity [n] of normalised embeddings [n, D] to this person, in [-1, 1]."""
        gallery = self.gallery(pool).to(embeddings)
        if pool == "max":
            # In parts: the whole table would not fit for the faces of a long clip against themselves.
            return torch.cat([(part @ gallery.T).amax(1) for part in embeddings.split(_ROWS_AT_ONCE)])
        # The mean of the cosines to the gallery is the product with its mean.
        centre = gallery.mean(0)
        return embeddings @ (F.normalize(centre, dim=0) if pool == "centroid" else centre)

    def gallery(self, pool: Pool) -> Tensor:
        """The embeddings [J, D] that a pool compares with.

        Without this person in frame 0 `first_frame` falls back on all.
        """
        return self.first[None] if pool == "first_frame" and self.first is not None else self.pool

    def self_similarity(self, pool: Pool) -> float:
        """How similar the real frames are to the rest of their own pool (leave one out); 1 when there is only one."""
        if pool == "first_frame" and self.first is not None:
            return float((self.pool @ self.first).mean())
        count = len(self.pool)
        if count < 2:
            return 1.0
        if pool == "centroid":
            rest = F.normalize(self.pool.sum(0) - self.pool, dim=1)
            return float((self.pool * rest).sum(1).mean())
        if pool == "max":
            best = []
            for start in range(0, count, _ROWS_AT_ONCE):
                table = self.pool[start : start + _ROWS_AT_ONCE] @ self.pool.T
                table.diagonal(start).fill_(-1.0)
                best.append(table.amax(1))
            return float(torch.cat(best).mean())
        # Sum over pairs of different frames: the square of the sum without its diagonal.
        return float((self.pool.sum(0).square().sum() - self.pool.square().sum()) / (count * (count - 1)))


@dataclass(frozen=True)
class Reference:
    """What a real clip (or a single first frame) says about who should be seen.

    `people` are ordered by how much of the clip they fill; empty when no face was found. `num_frames` is 0 when there
    was only a first frame. `faces` and `tracks` describe the clip itself.
    """

    people: list[Person]
    num_frames: int
    faces: list[list[Face]]
    tracks: list[TrackSummary]

    @property
    def has_face(self) -> bool:
        return bool(self.people)

    @property
    def first_frame_has_face(self) -> bool:
        return bool(self.faces and self.faces[0])

    def visible(self, person: int, frame: int) -> bool:
        """Whether frame `frame` of a generated clip should show the person."""
        return self.num_frames == 0 or frame >= self.num_frames or frame in self.people[person].visible

    def centroids(self) -> Tensor:
        """One normalised embedding [I, D] per person, for matching."""
        if not self.people:
            return torch.zeros(0, 0)
        return torch.stack([F.normalize(person.pool.mean(0), dim=0) for person in self.people])
