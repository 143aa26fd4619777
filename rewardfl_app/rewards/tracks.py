"""Faces linked over the frames of a clip, and tracks matched to the people of the reference.

"The largest face" jumps from one person to another in real footage. Here a face is linked to the track it most
resembles in position and embedding; tracks are never closed, so that a person who leaves the picture and returns
keeps the id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rewardfl_app.rewards.detector import Faces

SAME_PERSON = 0.4  # cosine from which two faces are linked wherever they are
NOT_ANOTHER = 0.25  # cosine that is still needed where the boxes overlap: a cut may put someone else there
OVERLAP = 0.3  # IoU from which position speaks for the same face
_FADING = 0.8  # how much an old position is worth per frame that has passed


@dataclass
class Track:
    """One person over the clip: for each frame that shows them, the place in the frame's list of faces."""

    faces: dict[int, int] = field(default_factory=dict)
    boxes: dict[int, Tensor] = field(default_factory=dict)
    embeddings: dict[int, Tensor] = field(default_factory=dict)
    total: Tensor | float = 0.0  # sum of the embeddings, so that the centroid costs the same in a long clip
    last: int = -1

    @property
    def centroid(self) -> Tensor:
        """Mean direction [D] of the normalised embeddings."""
        return torch.nn.functional.normalize(torch.as_tensor(self.total), dim=0)

    def add(self, frame: int, place: int, box: Tensor, embedding: Tensor) -> None:
        self.faces[frame], self.boxes[frame], self.embeddings[frame] = place, box, embedding
        self.total = self.total + embedding
        self.last = max(self.last, frame)


def link(faces: Sequence[Faces], embeddings: Sequence[Tensor]) -> list[Track]:
    """Links the faces of T frames (with embeddings [M_t, D], any length) into tracks, in order of appearance."""
    tracks: list[Track] = []
    for frame, (found, raw) in enumerate(zip(faces, embeddings, strict=True)):
        if len(found) == 0:
            continue
        unit = torch.nn.functional.normalize(raw.detach().float().cpu(), dim=1)
        free = set(range(len(found)))
        if tracks:
            last = [track.last for track in tracks]
            fade = torch.tensor([_FADING ** (frame - 1 - before) for before in last])
            overlap = (
                iou(torch.stack([t.boxes[b] for t, b in zip(tracks, last, strict=True)]), found.boxes) * fade[:, None]
            )
            known = torch.stack([track.centroid for track in tracks])
            recent = torch.stack([t.embeddings[b] for t, b in zip(tracks, last, strict=True)])
            alike = torch.maximum(known @ unit.T, recent @ unit.T)
            allowed = (alike >= SAME_PERSON) | ((overlap >= OVERLAP) & (alike >= NOT_ANOTHER))
            score = torch.where(allowed, 0.5 * overlap + alike, torch.zeros(()))
            for row, column in zip(*linear_sum_assignment(-score.numpy()), strict=True):
                if allowed[row, column]:
                    tracks[row].add(frame, int(column), found.boxes[column, :4], unit[column])
                    free.discard(int(column))
        for place in sorted(free):
            track = Track()
            track.add(frame, place, found.boxes[place, :4], unit[place])
            tracks.append(track)
    return tracks


def assign(tracks: Sequence[Track], people: Tensor) -> list[int | None]:
    """Which person of the reference (centroids [I, D], normalised) each track shows, None for a bystander.

    First one track per person, by the greatest sum of similarity over frames (Hungarian). Then a track that shows
    nobody yet joins a person whom the frames do not show otherwise, if it resembles them or continues where they
    were. Without this second step a face that drifts so far that its track breaks would leave the reward, and
    drifting would pay.
    """
    identity: list[int | None] = [None] * len(tracks)
    if not tracks or len(people) == 0:
        return identity
    alike = torch.stack([track.centroid for track in tracks]) @ people.float().cpu().T
    length = torch.tensor([len(track.faces) for track in tracks])
    worth = (alike.clamp_min(0) + 0.01) * length[:, None]
    for row, column in zip(*linear_sum_assignment(-worth.numpy()), strict=True):
        identity[row] = int(column)
    for row in np.argsort(-length.numpy(), kind="stable").tolist():
        if identity[row] is not None:
            continue
        for person in torch.argsort(-alike[row]).tolist():
            own = [t for t, who in zip(tracks, identity, strict=True) if who == person]
            if any(frame in t.faces for t in own for frame in tracks[row].faces):
                continue
            if float(alike[row, person]) >= SAME_PERSON or any(_continues(tracks[row], t) for t in own):
                identity[row] = person
                break
    return identity


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union [A, B] of boxes [A, 4+] and [B, 4+]."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:4], second[None, :, 2:4])
    shared = (high - low).clamp_min(0).prod(-1)
    areas = [(b[:, 2:4] - b[:, :2]).clamp_min(0).prod(-1) for b in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared).clamp_min(1e-9)


def _continues(track: Track, other: Track) -> bool:
    """Whether the track lies where the other one was, at the moment when they are nearest in time."""
    mine, theirs = np.array(sorted(track.faces)), np.array(sorted(other.faces))
    after = np.searchsorted(theirs, mine)
    nearest = np.stack([theirs[np.maximum(after - 1, 0)], theirs[np.minimum(after, len(theirs) - 1)]])
    side, place = np.unravel_index(np.abs(nearest - mine).argmin(), nearest.shape)
    before, now = other.boxes[int(nearest[side, place])], track.boxes[int(mine[place])]
    return bool(iou(now[None], before[None])[0, 0] >= OVERLAP)
