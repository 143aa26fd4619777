"""The identity reward: how much the faces of a generated clip are those of the real clip.

    s_i = pool similarity of the face in generated frame i to the person of the reference
    m   = share of the frames where the person should be seen but is not
    R   = mean over people of (mean_i s_i - missing_face_penalty * m)

Frame 0 is the given image, so it is left out of both (unless `include_first_frame`). Detection, linking and matching
carry no gradient; the crop and the recogniser do. All frames of all clips go through the detector and the recogniser
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards import alignment, roll, tracks
from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.pack import FacePack
from rewardfl_app.rewards.reference import Face, Person, Reference, TrackSummary

__all__ = ["Face", "IdentityReward", "Person", "Reference", "RewardResult", "TrackSummary"]

# A person of the real clip counts from this share of its frames; someone who only passes the edge is not asked for.
_LEAST_SHARE = 0.25


@dataclass(frozen=True)
class RewardResult:
    """The reward of one clip.

    `reward`: scalar tensor; without a face it is 0 (less the penalty), still part of the graph, with zero gradient.
    `similarities`: per frame, the mean over the people seen in it, None without a face. `face_rate`: share of the
    scored frames that show the people of the reference. `faces`: per frame, in pixels of the frame.
    """

    reward: Tensor
    has_face: bool
    face_rate: float
    similarities: list[float | None]
    faces: list[list[Face]]
    tracks: list[TrackSummary]

    @property
    def faceless_frames(self) -> list[int]:
        """Frames in which no face was found at all."""
        return [frame for frame, faces in enumerate(self.faces) if not faces]


@dataclass(frozen=True)
class _Seen:
    """The faces of one clip.

    Per frame detections and normalised embeddings [M_t, D], with gradients if the frames have.
    """

    faces: list[Faces]
    embeddings: list[Tensor]


class IdentityReward:
    """Scores clips with one face pack; `settings` is the `reward` section of the configuration."""

    def __init__(self, pack: FacePack, settings: RewardConfig) -> None:
        self.pack = pack
        self.settings = settings
        odd = settings.pool != "mean" or settings.hinge or settings.missing_face_penalty != 0
        if settings.roll_compatible and odd:
            raise ValueError("roll_compatible is pool mean without hinge and without missing_face_penalty")
        self.skipped = 0 if settings.include_first_frame or settings.roll_compatible else 1

    @torch.no_grad()
    def reference(self, frames: Tensor | None, first_frame: Tensor) -> Reference:
        """The people of a real clip [T, 3, H, W], or of its first frame [3, H, W] alone; RGB in [-1, 1].

        `first_frame` may have another size than the clip, whose frame 0 it stands for. A clip without any face gives a
        reference without people (`has_face` False), never an error.
        """
        seen = self._see(first_frame[None], 1)[0]
        num_frames = 0 if frames is None else len(frames)
        if frames is not None and num_frames > 1:
            rest = self._see(frames[1:], 1)[0]
            seen = _Seen(seen.faces + rest.faces, seen.embeddings + rest.embeddings)
        linked = self._link(seen)
        chosen = self._principal(linked, len(seen.faces))
        people = [self._person(linked[k], seen) for k in chosen]
        identity: list[int | None] = [chosen.index(k) if k in chosen else None for k in range(len(linked))]
        similarity = {
            (frame, place): people[who].similarity(seen.embeddings[frame][place : place + 1], self.settings.pool)[0]
            for track, who in zip(linked, identity, strict=True)
            if who is not None
            for frame, place in track.faces.items()
        }
        faces, summaries = _describe(seen.faces, linked, identity, similarity)
        return Reference(people, num_frames, faces, summaries)

    def score(self, frames: Tensor, reference: Reference) -> RewardResult:
        """The reward of one clip [T, 3, H, W], RGB in about [-1, 1].

        Values beyond are kept, so that they get a gradient.
        """
        return self._score(self._see(frames, 1)[0], frames, reference)

    def score_batch(self, video: Tensor, references: Sequence[Reference]) -> list[RewardResult]:
        """The rewards of a batch of clips [B, 3, T, H, W].

        Detection and embedding run over all B * T frames at once.
        """
        clips = video.transpose(1, 2)
        seen = self._see(clips.reshape(-1, *clips.shape[2:]), len(clips))
        return [self._score(s, clip, r) for s, clip, r in zip(seen, clips.unbind(0), references, strict=True)]

    def _see(self, frames: Tensor, num_clips: int) -> list[_Seen]:
        """Detects and embeds the frames [num_clips * T, 3, H, W] of clips of equal length."""
        s = self.settings
        if s.roll_compatible:
            found = roll.largest_faces(self.pack.detector, frames, s.det_size, s.det_threshold, s.nms_threshold)
        else:
            found = self.pack.detector.detect(frames, s.det_size, s.det_threshold, s.nms_threshold)
        index = torch.cat([torch.full((len(faces),), n, dtype=torch.long) for n, faces in enumerate(found)])
        landmarks = torch.cat([faces.landmarks for faces in found])
        recogniser = self.pack.recogniser
        if s.roll_compatible:
            raw = roll.embed(recogniser, frames, index, landmarks)
        else:
            transforms = alignment.similarity_transforms(landmarks, recogniser.size)
            # What is only measured is measured as insightface sees it; what is differentiated stays smooth.
            crops = alignment.crop(frames, index, transforms, recogniser.size, eight_bit=not frames.requires_grad)
            raw = recogniser(crops.to(next(recogniser.buffers()).dtype))
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
        embeddings = F.normalize(raw, dim=1).split([len(faces) for faces in found])
        length = len(found) // num_clips
        cuts = [slice(c * length, (c + 1) * length) for c in range(num_clips)]
        return [_Seen(found[cut], list(embeddings[cut])) for cut in cuts]

    def _link(self, seen: _Seen) -> list[tracks.Track]:
        if not self.settings.roll_compatible:
            return tracks.link(seen.faces, seen.embeddings)
        track = tracks.Track()  # whoever is largest in a frame counts as the one person
        for frame, (faces, embeddings) in enumerate(zip(seen.faces, seen.embeddings, strict=True)):
            if len(faces):
                track.add(frame, 0, faces.boxes[0, :4], embeddings[0].detach().float().cpu())
        return [track] if track.faces else []

    def _principal(self, linked: list[tracks.Track], num_frames: int) -> list[int]:
        """The tracks that make the people of a reference, the one that fills most of the clip first."""
        if not linked:
            return []
        weight = [sum(float((b[2] - b[0]) * (b[3] - b[1])) for b in track.boxes.values()) for track in linked]
        order = sorted(range(len(linked)), key=lambda k: -weight[k])
        return [k for n, k in enumerate(order) if n == 0 or len(linked[k].faces) >= _LEAST_SHARE * num_frames]

    def _person(self, track: tracks.Track, seen: _Seen) -> Person:
        embedded = {frame: seen.embeddings[frame][place] for frame, place in track.faces.items()}
        rest = [embedding for frame, embedding in embedded.items() if frame > 0]
        return Person(torch.stack(rest or list(embedded.values())), embedded.get(0), frozenset(embedded))

    def _score(self, seen: _Seen, frames: Tensor, reference: Reference) -> RewardResult:
        linked = self._link(seen)
        identity = tracks.assign(linked, reference.centroids())
        # 0, connected to the frames whatever is found in them.
        graph = frames[:0].sum().to(torch.promote_types(frames.dtype, torch.float32))
        scored = range(self.skipped, len(seen.faces)) if len(seen.faces) > 1 else range(len(seen.faces))
        rewards: list[Tensor] = []
        rates: list[float] = []
        similarity: dict[tuple[int, int], Tensor] = {}
        for who, person in enumerate(reference.people):
            places = {f: p for t, i in zip(linked, identity, strict=True) if i == who for f, p in t.faces.items()}
            order = sorted(places)
            if order:
                embeddings = torch.stack([seen.embeddings[frame][places[frame]] for frame in order])
                values = person.similarity(embeddings, self.settings.pool)
                similarity.update({(f, places[f]): values[n].detach() for n, f in enumerate(order)})
                if self.settings.hinge:
                    values = values.clamp_max(person.self_similarity(self.settings.pool))
                counted = [n for n, frame in enumerate(order) if frame in scored]
                rewards.append(values[counted].mean() if counted else graph)
            else:
                rewards.append(graph)
            wanted = [frame for frame in scored if reference.visible(who, frame)]
            absent = sum(frame not in places for frame in wanted) / max(len(wanted), 1)
            rewards[-1] = rewards[-1] - self.settings.missing_face_penalty * absent
            rates.append(sum(frame in places for frame in scored) / max(len(scored), 1))
        reward = graph + torch.stack(rewards).mean() if rewards else graph
        faces, summaries = _describe(seen.faces, linked, identity, similarity)
        return RewardResult(
            reward=reward,
            has_face=any(rate > 0 for rate in rates),
            face_rate=sum(rates) / len(rates) if rates else 0.0,
            similarities=[_mean([face["similarity"] for face in frame]) for frame in faces],
            faces=faces,
            tracks=summaries,
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _describe(
    found: list[Faces],
    linked: list[tracks.Track],
    identity: list[int | None],
    similarity: dict[tuple[int, int], Tensor],
) -> tuple[list[list[Face]], list[TrackSummary]]:
    """Detections, tracks and similarities as plain numbers."""
    owner = {(frame, place): k for k, track in enumerate(linked) for frame, place in track.faces.items()}
    values = dict(zip(similarity, torch.stack(list(similarity.values())).tolist(), strict=True)) if similarity else {}
    faces: list[list[Face]] = [
        [
            Face(
                track=owner[frame, place],
                identity=identity[owner[frame, place]],
                bbox=detected.boxes[place, :4].tolist(),
                landmarks=detected.landmarks[place].tolist(),
                det_score=float(detected.boxes[place, 4]),
                similarity=values.get((frame, place)),
                judge_similarity=None,
            )
            for place in range(len(detected))
        ]
        for frame, detected in enumerate(found)
    ]
    summaries = [
        TrackSummary(
            track=k,
            identity=identity[k],
            mean_similarity=_mean([values.get(key) for key in track.faces.items()]),
            frames=len(track.faces),
        )
        for k, track in enumerate(linked)
    ]
    return faces, summaries
