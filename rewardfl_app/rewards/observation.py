"""What is seen in frames: faces, embeddings and, where it is measured, every number about each face.

Frames can be observed chunk after chunk; what stays of a frame is a few kilobytes per face, so a long video needs no
more memory than a short one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rewards import alignment, motion, roll
from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.pack import FacePack
from rewardfl_app.rewards.pose import five_point_pose
from rewardfl_app.rewards.recogniser import Recogniser

# Faces that are cut out and embedded together: a crowd takes no more memory than a few.
_FACES_AT_ONCE = 64
_WITH_GRADIENT_AT_ONCE = 8
_SHARPNESS_SIZE = 112


@dataclass(frozen=True)
class Details:
    """Measures of one face.

    `size`: root of the box's area, in pixels. `sharpness`: variance of the Laplacian of the aligned 112-pixel crop, in
    squared grey levels of 0..255. `pitch`, `yaw`, `roll`: degrees, signed as in `five_point_pose`; by insightface's 68
    landmarks where the pack has them. `age` in years and `sex` ("F" or "M"): None unless the pack tells them.
    """

    size: float
    sharpness: float
    pitch: float
    yaw: float
    roll: float
    age: int | None = None
    sex: str | None = None


@dataclass(frozen=True)
class FrameFaces:
    """The faces of one frame, best detection first.

    `embeddings` [M, D]: normalised, by the recogniser of the reward, with gradients if the frames had. `judge` [M, D']:
    normalised, by the judge, None without one. `details`: one per face, empty where only the reward was asked for.
    `thumbnail` [h, w]: the whole frame, small and grey (see `motion.thumbnails`), None where only the reward was.
    """

    detections: Faces
    embeddings: Tensor
    judge: Tensor | None = None
    details: tuple[Details, ...] = ()
    thumbnail: Tensor | None = None

    def __len__(self) -> int:
        return len(self.detections)


class Observer:
    """Finds and embeds faces with one face pack, as the `reward` section of the configuration says."""

    def __init__(self, pack: FacePack, settings: RewardConfig, judge: Recogniser | None = None) -> None:
        self.pack = pack
        self.settings = settings
        self.judge = judge

    def detect(self, frames: Tensor) -> list[Faces]:
        """The faces of frames [N, 3, H, W], RGB in [-1, 1] or uint8; in `roll_compatible` only the largest of each."""
        s, detector = self.settings, self.pack.detector
        if s.roll_compatible:
            return roll.largest_faces(detector, _in_range(frames), s.det_size, s.det_threshold, s.nms_threshold)
        return detector.detect(frames, s.det_size, s.det_threshold, s.nms_threshold)

    def see(self, frames: Tensor) -> list[FrameFaces]:
        """What the reward needs of frames [N, 3, H, W], RGB in about [-1, 1], with gradients from embeddings to pixels.

        Pixels beyond [-1, 1] are kept, so that they get a gradient.
        """
        found = self.detect(frames)
        parts = self.embed(frames, *_flat(found)).split([len(faces) for faces in found])
        return [FrameFaces(faces, embeddings) for faces, embeddings in zip(found, parts, strict=True)]

    @torch.no_grad()
    def foresee(self, frames: Tensor) -> list[FrameFaces]:
        """What `see` finds in frames [N, 3, H, W] whose gradient is taken later, with `pull_back`: no graph yet."""
        found = self.detect(frames)
        index, landmarks = _flat(found)
        rows = zip(index.split(_FACES_AT_ONCE), landmarks.split(_FACES_AT_ONCE), strict=True)
        embeddings = torch.cat([self.embed(frames, at, points, smooth=True) for at, points in rows])
        parts = embeddings.split([len(faces) for faces in found])
        return [FrameFaces(faces, part) for faces, part in zip(found, parts, strict=True)]

    def pull_back(self, frames: Tensor, index: Tensor, landmarks: Tensor, gradient: Tensor) -> Tensor:
        """d loss / d pixels [N, 3, H, W] of frames [N, 3, H, W], from d loss / d embeddings [M, D] of these faces.

        The graphs of a few faces exist at a time.
        """
        pixels = frames.detach().requires_grad_(True)
        total = torch.zeros_like(pixels)
        if not len(index):
            return total
        for row in zip(*(part.split(_WITH_GRADIENT_AT_ONCE) for part in (index, landmarks, gradient)), strict=True):
            with torch.enable_grad():
                embeddings = self.embed(pixels, row[0], row[1], smooth=True)
                total += torch.autograd.grad(embeddings, pixels, row[2].to(embeddings))[0]
        return total

    def embed(self, frames: Tensor, index: Tensor, landmarks: Tensor, smooth: bool = False) -> Tensor:
        """Normalised embeddings [M, D] of the faces with landmarks [M, 5, 2] in frames[index], with gradients.

        `smooth`: of the values themselves, as always where a gradient is kept, not of their 256 levels.
        """
        recogniser = self.pack.recogniser
        if self.settings.roll_compatible:
            return _normalised(roll.embed(recogniser, frames, index, landmarks))
        transforms = alignment.similarity_transforms(landmarks, recogniser.size)
        # What is only measured is measured as insightface sees it; what is differentiated stays smooth.
        eight_bit = not (smooth or frames.requires_grad)
        crops = alignment.crop(frames, index, transforms, recogniser.size, eight_bit=eight_bit)
        return _normalised(_embed(recogniser, crops))

    @torch.no_grad()
    def observe(self, frames: Tensor) -> list[FrameFaces]:
        """Everything measured on frames [N, 3, H, W], RGB in [-1, 1] (clamped here) or uint8."""
        frames = frames.detach() if frames.dtype == torch.uint8 else frames.detach().clamp(-1, 1)
        found = self.detect(frames)
        index, landmarks = _flat(found)
        rows = zip(index.split(_FACES_AT_ONCE), landmarks.split(_FACES_AT_ONCE), strict=True)
        parts = [self._measure(frames, *row) for row in rows]
        embeddings = torch.cat([part[0] for part in parts])
        judged = torch.cat([part[1] for part in parts if part[1] is not None]) if self.judge is not None else None
        details = self._details(frames, found, index, torch.cat([part[2] for part in parts]))
        frames_of: list[FrameFaces] = []
        start = 0
        for faces, thumbnail in zip(found, motion.thumbnails(frames), strict=True):
            cut = slice(start, start + len(faces))
            judge = None if judged is None else judged[cut]
            # A copy: a view would keep the pictures of the whole chunk.
            frames_of.append(FrameFaces(faces, embeddings[cut], judge, tuple(details[cut]), thumbnail.clone()))
            start = cut.stop
        return frames_of

    def _details(self, frames: Tensor, found: list[Faces], index: Tensor, sharpness: Tensor) -> list[Details]:
        boxes = torch.cat([faces.boxes for faces in found])
        sizes = torch.cat([faces.areas for faces in found]).clamp_min(0).sqrt().tolist()
        poses = five_point_pose(torch.cat([faces.landmarks for faces in found])).tolist()
        details = [Details(*row, *pose) for *row, pose in zip(sizes, sharpness.tolist(), poses, strict=True)]
        if self.pack.attributes is None or not details:
            return details
        told = self.pack.attributes.measure(frames, index, boxes)
        return [
            replace(own, age=more.age, sex=more.sex, **({} if more.pose is None else _angles(more.pose)))
            for own, more in zip(details, told, strict=True)
        ]

    def _measure(self, frames: Tensor, index: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Embeddings of the reward and of the judge, and the sharpness, of the faces with these landmarks."""
        crops: dict[int, Tensor] = {}

        def aligned(size: int) -> Tensor:
            if size not in crops:
                transforms = alignment.similarity_transforms(landmarks, size)
                crops[size] = alignment.crop(frames, index, transforms, size, eight_bit=True)
            return crops[size]

        if self.settings.roll_compatible:
            raw = roll.embed(self.pack.recogniser, _in_range(frames), index, landmarks)
        else:
            raw = _embed(self.pack.recogniser, aligned(self.pack.recogniser.size))
        judged = None if self.judge is None else _normalised(_embed(self.judge, aligned(self.judge.size)))
        return _normalised(raw), judged, sharpness_of(aligned(_SHARPNESS_SIZE))


def sharpness_of(crops: Tensor) -> Tensor:
    """Variance of the Laplacian [M] of crops [M, 3, S, S] in [-1, 1], in squared grey levels of 0..255."""
    if not len(crops):
        return torch.zeros(0)
    levels = (crops.float().clamp(-1, 1) + 1) * 127.5
    grey = (levels * levels.new_tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    laplacian = levels.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return F.conv2d(grey, laplacian[None, None]).flatten(1).var(1, unbiased=False)


def _angles(pose: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("pitch", "yaw", "roll"), pose, strict=True))


def _flat(found: list[Faces]) -> tuple[Tensor, Tensor]:
    """The faces of all frames one after the other: number of the frame [M] and landmarks [M, 5, 2]."""
    index = torch.cat([torch.full((len(faces),), n, dtype=torch.long) for n, faces in enumerate(found)])
    return index, torch.cat([faces.landmarks for faces in found])


def _embed(recogniser: Recogniser, crops: Tensor) -> Tensor:
    return recogniser(crops.to(next(recogniser.buffers()).dtype))


def _normalised(raw: Tensor) -> Tensor:
    return F.normalize(raw.to(torch.promote_types(raw.dtype, torch.float32)), dim=1)


def _in_range(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1 if frames.dtype == torch.uint8 else frames
