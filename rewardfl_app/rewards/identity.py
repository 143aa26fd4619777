"""The identity reward: how much the faces of a generated clip are those of the real clip.

    s_i = pool similarity of the face in generated frame i to the person of the reference
    m   = share of the frames where the person should be seen but is not
    R   = mean over people of (mean_i s_i - missing_face_penalty * m)

Frame 0 is the given image, so it is left out of both (unless `include_first_frame`). Detection, linking and matching
carry no gradient; the crop and the recogniser do. All frames of all clips go through the detector and the recogniser
together, or, where only numbers are wanted, chunk after chunk through an `Observer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards import tracks
from rewardfl_app.rewards.observation import Details, FrameFaces, Observer
from rewardfl_app.rewards.pack import FacePack
from rewardfl_app.rewards.reference import Face, Person, Pose, Reference, TrackSummary

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


class IdentityReward:
    """Scores clips with one face pack; `settings` is the `reward` section of the configuration."""

    def __init__(self, pack: FacePack, settings: RewardConfig) -> None:
        odd = settings.pool != "mean" or settings.hinge or settings.missing_face_penalty != 0
        if settings.roll_compatible and odd:
            raise ValueError("roll_compatible is pool mean without hinge and without missing_face_penalty")
        self.pack = pack
        self.settings = settings
        self.skipped = 0 if settings.include_first_frame or settings.roll_compatible else 1
        self._observer = Observer(pack, settings)

    @torch.no_grad()
    def reference(self, frames: Tensor | None, first_frame: Tensor) -> Reference:
        """The people of a real clip [T, 3, H, W], or of its first frame [3, H, W] alone; RGB in [-1, 1].

        `first_frame` may have another size than the clip, whose frame 0 it stands for. A clip without any face gives a
        reference without people (`has_face` False), never an error.
        """
        seen = self._observer.see(first_frame[None])
        if frames is not None and len(frames) > 1:
            seen += self._observer.see(frames[1:])
        return self.reference_of(seen, is_clip=frames is not None)

    def reference_of(self, seen: Sequence[FrameFaces], is_clip: bool) -> Reference:
        """The people of a real clip that was observed; of its first frame alone unless `is_clip`."""
        if not is_clip:
            seen = seen[:1]
        linked = self._link(seen)
        chosen = self._principal(linked, len(seen))
        people = [self._person(linked[k], seen) for k in chosen]
        identity: list[int | None] = [chosen.index(k) if k in chosen else None for k in range(len(linked))]
        similarity = {
            (frame, place): people[who].similarity(seen[frame].embeddings[place : place + 1], self.settings.pool)[0]
            for track, who in zip(linked, identity, strict=True)
            if who is not None
            for frame, place in track.faces.items()
        }
        faces, summaries = _describe(seen, linked, identity, similarity)
        return Reference(people, len(seen) if is_clip else 0, faces, summaries)

    def score(self, frames: Tensor, reference: Reference) -> RewardResult:
        """The reward of one clip [T, 3, H, W], RGB in about [-1, 1].

        Values beyond are kept, so that they get a gradient.
        """
        return self.result_of(self._observer.see(frames), reference, _zero(frames))

    def score_batch(self, video: Tensor, references: Sequence[Reference]) -> list[RewardResult]:
        """The rewards of a batch of clips [B, 3, T, H, W].

        Detection and embedding run over all B * T frames at once.
        """
        clips = video.transpose(1, 2)
        seen, length = self._observer.see(clips.reshape(-1, *clips.shape[2:])), clips.shape[1]
        parts = [seen[start : start + length] for start in range(0, len(seen), length)]
        return [
            self.result_of(part, known, _zero(clip))
            for part, clip, known in zip(parts, clips.unbind(0), references, strict=True)
        ]

    def pixel_gradient(self, frames: Tensor, offset: int, result: RewardResult, reference: Reference) -> Tensor:
        """d reward / d pixel [n, 3, H, W] of frames offset, ..., offset + n - 1 of a clip whose result is known.

        Frames [n, 3, H, W] are RGB in [-1, 1]. Given its faces, the reward is a sum over frames, so the gradient of a
        long clip can be had in parts.
        """
        pixels = frames.detach().float().requires_grad_(True)
        total = _zero(pixels)
        with torch.enable_grad():
            for who, person in enumerate(reference.people):
                counted = [n for n in self._scored(len(result.faces)) if _places(result.faces[n], who)]
                here = [n for n in counted if offset <= n < offset + len(frames)]
                if not here:
                    continue
                landmarks = [result.faces[n][_places(result.faces[n], who)[0]]["landmarks"] for n in here]
                index = torch.tensor([n - offset for n in here])
                embeddings = self._observer.embed(pixels, index, torch.tensor(landmarks))
                values = self._saturated(person, person.similarity(embeddings, self.settings.pool))
                total = total + values.sum() / (len(counted) * len(reference.people))
        (gradient,) = torch.autograd.grad(total, pixels)
        return gradient

    def _link(self, seen: Sequence[FrameFaces]) -> list[tracks.Track]:
        if not self.settings.roll_compatible:
            return tracks.link([faces.detections for faces in seen], [faces.embeddings for faces in seen])
        track = tracks.Track()  # whoever is largest in a frame counts as the one person
        for frame, faces in enumerate(seen):
            if len(faces):
                track.add(frame, 0, faces.detections.boxes[0, :4], faces.embeddings[0].detach().float().cpu())
        return [track] if track.faces else []

    def _principal(self, linked: list[tracks.Track], num_frames: int) -> list[int]:
        """The tracks that make the people of a reference, the one that fills most of the clip first."""
        if not linked:
            return []
        weight = [sum(float((b[2] - b[0]) * (b[3] - b[1])) for b in track.boxes.values()) for track in linked]
        order = sorted(range(len(linked)), key=lambda k: -weight[k])
        return [k for n, k in enumerate(order) if n == 0 or len(linked[k].faces) >= _LEAST_SHARE * num_frames]

    def _person(self, track: tracks.Track, seen: Sequence[FrameFaces]) -> Person:
        embedded = {frame: seen[frame].embeddings[place] for frame, place in track.faces.items()}
        rest = [embedding for frame, embedding in embedded.items() if frame > 0]
        return Person(torch.stack(rest or list(embedded.values())), embedded.get(0), frozenset(embedded))

    def _scored(self, num_frames: int) -> range:
        """The frames whose faces count."""
        return range(self.skipped if num_frames > 1 else 0, num_frames)

    def _saturated(self, person: Person, values: Tensor) -> Tensor:
        return values.clamp_max(person.self_similarity(self.settings.pool)) if self.settings.hinge else values

    def result_of(self, seen: Sequence[FrameFaces], reference: Reference, graph: Tensor | None = None) -> RewardResult:
        """The reward of a clip whose frames were seen. `graph` is a zero that connects the reward to the clip's pixels
        whatever is found in them."""
        linked = self._link(seen)
        identity = tracks.assign(linked, reference.centroids())
        graph = torch.zeros(()) if graph is None else graph
        scored = self._scored(len(seen))
        rewards: list[Tensor] = []
        rates: list[float] = []
        similarity: dict[tuple[int, int], Tensor] = {}
        for who, person in enumerate(reference.people):
            places = {f: p for t, i in zip(linked, identity, strict=True) if i == who for f, p in t.faces.items()}
            order = sorted(places)
            if order:
                embeddings = torch.stack([seen[frame].embeddings[places[frame]] for frame in order])
                values = person.similarity(embeddings, self.settings.pool)
                similarity.update({(f, places[f]): values[n].detach() for n, f in enumerate(order)})
                values = self._saturated(person, values)
                counted = [n for n, frame in enumerate(order) if frame in scored]
                rewards.append(values[counted].mean() if counted else graph)
            else:
                rewards.append(graph)
            wanted = [frame for frame in scored if reference.visible(who, frame)]
            absent = sum(frame not in places for frame in wanted) / max(len(wanted), 1)
            rewards[-1] = rewards[-1] - self.settings.missing_face_penalty * absent
            rates.append(sum(frame in places for frame in scored) / max(len(scored), 1))
        reward = graph + torch.stack(rewards).mean() if rewards else graph
        faces, summaries = _describe(seen, linked, identity, similarity)
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


def _zero(frames: Tensor) -> Tensor:
    """0, connected to the frames."""
    return frames[:0].sum().to(torch.promote_types(frames.dtype, torch.float32))


def _places(faces: Sequence[Face], who: int) -> list[int]:
    return [place for place, face in enumerate(faces) if face["identity"] == who]


def _describe(
    seen: Sequence[FrameFaces],
    linked: list[tracks.Track],
    identity: list[int | None],
    similarity: dict[tuple[int, int], Tensor],
) -> tuple[list[list[Face]], list[TrackSummary]]:
    """Detections, tracks and similarities as plain numbers."""
    owner = {(frame, place): k for k, track in enumerate(linked) for frame, place in track.faces.items()}
    values = dict(zip(similarity, torch.stack(list(similarity.values())).tolist(), strict=True)) if similarity else {}
    faces: list[list[Face]] = []
    for frame, found in enumerate(seen):
        details: Sequence[Details | None] = found.details or [None] * len(found)
        tracks_here = [owner[frame, place] for place in range(len(found))]
        faces.append(
            [
                _face(found, place, track, identity[track], values.get((frame, place)), more)
                for place, (track, more) in enumerate(zip(tracks_here, details, strict=True))
            ]
        )
    summaries = []
    for k, track in enumerate(linked):
        mean = _mean([values.get(key) for key in track.faces.items()])
        unlike = mean is not None and mean < tracks.NOT_ANOTHER
        summaries.append(
            TrackSummary(track=k, identity=identity[k], mean_similarity=mean, frames=len(track.faces), unlike=unlike)
        )
    return faces, summaries


def _face(
    found: FrameFaces, place: int, track: int, identity: int | None, similarity: float | None, more: Details | None
) -> Face:
    box = found.detections.boxes[place].tolist()
    return Face(
        track=track,
        identity=identity,
        bbox=box[:4],
        landmarks=found.detections.landmarks[place].tolist(),
        det_score=box[4],
        similarity=similarity,
        judge_similarity=None,
        size=more.size if more else None,
        sharpness=more.sharpness if more else None,
        pose=Pose(pitch=more.pitch, yaw=more.yaw, roll=more.roll) if more else None,
        age=more.age if more else None,
        sex=more.sex if more else None,
    )
