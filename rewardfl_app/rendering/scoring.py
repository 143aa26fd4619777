"""The reward and the judge on clips: what both compare with, the reward of a batch, and the full measurement of one
video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rewardfl_app.data.errors import DataError
from rewardfl_app.rewards import judge as judging
from rewardfl_app.rewards.identity import IdentityReward, Reference, RewardResult
from rewardfl_app.rewards.judge import JudgeReference, JudgeResult
from rewardfl_app.rewards.mixture import ClipReward, Mixture
from rewardfl_app.rewards.observation import FrameFaces, Observer
from rewardfl_app.rewards.pack import load_pack, load_recogniser
from rewardfl_app.rewards.protocol import RewardedClip
from rewardfl_app.rewards.recogniser import Recogniser
from rewardfl_app.rewards.report import faces_report
from rewardfl_app.runs.video_values import MEASURES

if TYPE_CHECKING:
    from rewardfl_app.config.schema import RewardConfig
    from rewardfl_app.data.dataset import Clip


def term_measure(name: str) -> str:
    """The name under which one of several rewards is recorded."""
    return f"reward/{name}"


@dataclass(frozen=True)
class ClipReference:
    """The faces of a real clip, as the reward and as the judge know them.

    `clip` is what rewards of one's own get to know, None where there are none.
    """

    reward: Reference
    judge: JudgeReference | None
    clip: RewardedClip | None = None


@dataclass(frozen=True)
class Measurement:
    """Everything measured on one video. `own`: the whole reward, where it is more than the face similarity."""

    result: RewardResult
    judged: JudgeResult
    own: ClipReward | None = None

    @property
    def values(self) -> dict[str, float | None]:
        """The measures by name (see `Scorer.measures`); None where there was nothing to measure."""
        face_similarity = float(self.result.reward.detach()) if self.result.has_face else None
        total = float(self.own.total.detach()) if self.own and self.own.counted else None
        return {
            "reward": total if self.own else face_similarity,
            "judge": self.judged.judge,
            "similarity_drift": self.judged.similarity_drift,
            "judge_drift": self.judged.judge_drift,
            "motion": self.judged.motion,
            "frame_motion": self.judged.frame_motion,
            "first_frame_distance": self.judged.first_frame_distance,
            "face_rate": self.result.face_rate,
            "face_size": self.judged.face_size,
            "sharpness": self.judged.sharpness,
            "yaw_spread": self.judged.yaw_spread,
            "pitch_spread": self.judged.pitch_spread,
            **({term_measure(name): value for name, value in self.own.terms.items()} if self.own else {}),
        }

    @property
    def curves(self) -> dict[str, list[float | None]]:
        """Similarity by frame: by the reward's recogniser, and by the judge; None in a frame without the person."""
        return {"similarity_curve": self.judged.similarity_curve, "judge_curve": self.judged.judge_curve}

    def report(
        self,
        *,
        fps: float,
        height: int,
        width: int,
        prompt: str | None = None,
        seed: int | None = None,
        video: str | Path = "video.mp4",
        reference: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The content of faces.json, see `rewards.report`."""
        about: dict[str, Any] = {"fps": fps, "height": height, "width": width, "prompt": prompt, "seed": seed}
        return faces_report(self.result, self.judged, video=video, reference=reference, **about)


class Scorer:
    """The identity reward with the judge beside it."""

    def __init__(self, identity: IdentityReward, judge: Recogniser | None, device: torch.device) -> None:
        self._identity = identity
        self._observer = Observer(identity.pack, identity.settings, judge)
        self._mixture = Mixture(identity.settings.rewards, device)
        self._device = device
        self.measures: tuple[str, ...] = MEASURES
        """Names of what is measured on every video."""
        if not self._mixture.is_faces_alone:
            self.measures += tuple(term_measure(name) for name in self._mixture.names)

    @classmethod
    def load(cls, reward: RewardConfig, device: torch.device | str = "cpu") -> Scorer:
        """Loads the face pack, the judge and the rewards a configuration names. Raises PackError, ConfigError."""
        device = torch.device(device)
        pack = load_pack(Path(reward.reward_model_path or ""), device=device)
        judge = load_recogniser(Path(reward.judge_model_path), device=device) if reward.judge_model_path else None
        return cls(IdentityReward(pack, reward), judge, device)

    def reference(self, clip: Clip) -> ClipReference:
        """The reference of a real clip.

        Raises DataError naming the row when the first frame shows no face.
        """
        # The first frame the model is given may be an image of its own.
        frames = torch.cat([clip.first_frame[None], clip.video.transpose(0, 1)[1:]])
        known = self.reference_of(self.observe(frames), is_clip=True)
        if not known.reward.first_frame_has_face:
            raise DataError(f"Row {clip.row.index}: no face was found in the first frame of {_source(clip)}.")
        return self.with_clip(known, clip)

    def with_clip(self, known: ClipReference, clip: Clip) -> ClipReference:
        """The reference with what rewards of one's own get to know of the clip."""
        if self._mixture.is_faces_alone:
            return known
        return replace(known, clip=RewardedClip(clip.row.prompt, clip.first_frame, clip.row.video))

    def has_face(self, first_frames: Tensor) -> list[bool]:
        """Whether each of the first frames [N, 3, H, W] shows a face."""
        return [len(faces) > 0 for faces in self._observer.detect(first_frames.to(self._device))]

    def rewards(self, video: Tensor, references: Sequence[ClipReference]) -> list[ClipReward]:
        """The rewards of a batch [B, 3, T, H, W] in about [-1, 1], with gradients to the pixels."""
        faces = self._identity.score_batch(video, [reference.reward for reference in references])
        return self._mixture.combine(video, faces, [reference.clip for reference in references])

    @property
    def looks_at_videos(self) -> bool:
        """Whether `combine` needs the videos beside what was foreseen in them."""
        return self._mixture.looks_at_videos

    def foresee(self, frames: Tensor) -> list[FrameFaces]:
        """What `rewards` would see in frames [n, 3, H, W], without a graph; a video may be given chunk after chunk."""
        return self._observer.foresee(frames)

    def combine(
        self, seen: Sequence[Sequence[FrameFaces]], video: Tensor | None, references: Sequence[ClipReference]
    ) -> list[ClipReward]:
        """The rewards of clips whose frames were foreseen, with gradients to their embeddings and to the video."""
        zeros = [torch.cat([faces.embeddings for faces in clip])[:0].sum() for clip in seen]
        faces = [
            self._identity.result_of(clip, reference.reward, zero)
            for clip, reference, zero in zip(seen, references, zeros, strict=True)
        ]
        return self._mixture.combine(video, faces, [reference.clip for reference in references])

    def pull_back(self, frames: Tensor, index: Tensor, landmarks: Tensor, gradient: Tensor) -> Tensor:
        """d loss / d pixels [n, 3, H, W] of frames [n, 3, H, W], from d loss / d embedding [M, D] of the faces with
        landmarks [M, 5, 2] in frames[index]."""
        return self._observer.pull_back(frames, index, landmarks, gradient)

    def measure(self, video: Tensor, references: Sequence[ClipReference]) -> list[Measurement]:
        """Everything measured on each video of a batch [B, 3, T, H, W]; pixels beyond [-1, 1] are clamped."""
        video = video.to(self._device).clamp(-1, 1)
        frames = video.transpose(1, 2)
        seen, length = self.observe(frames.reshape(-1, *frames.shape[2:])), frames.shape[1]
        measured = [self.measure_seen(seen[n * length : (n + 1) * length], r) for n, r in enumerate(references)]
        if self._mixture.is_faces_alone:
            return measured
        with torch.no_grad():
            own = self._mixture.combine(video, [m.result for m in measured], [known.clip for known in references])
        return [replace(one, own=reward) for one, reward in zip(measured, own, strict=True)]

    def observe(self, frames: Tensor) -> list[FrameFaces]:
        """What is seen in frames [n, 3, H, W], RGB in [-1, 1] or uint8; a video may be given chunk after chunk."""
        return self._observer.observe(frames.to(self._device))

    def reference_of(self, seen: Sequence[FrameFaces], is_clip: bool) -> ClipReference:
        """What an observed clip, or its first frame alone, says of who should be seen: nobody without a face."""
        seen = seen if is_clip else seen[:1]
        known = self._identity.reference_of(seen, is_clip)
        return ClipReference(known, judging.reference(seen, known))

    def measure_seen(self, seen: Sequence[FrameFaces], reference: ClipReference) -> Measurement:
        """Everything measured on a clip that was observed."""
        result = self._identity.result_of(seen, reference.reward)
        return Measurement(result, judging.measure(seen, result.faces, reference.judge))

    def pixel_gradient(self, frames: Tensor, offset: int, measured: Measurement, reference: ClipReference) -> Tensor:
        """|d reward / d pixel| [n, H, W] (L2 over RGB, per unit of a pixel in [-1, 1]) of frames offset, ... of a clip.

        `frames` [n, 3, H, W] are RGB in [-1, 1] or uint8.
        """
        frames = frames.to(self._device)
        pixels = frames.float() / 127.5 - 1 if frames.dtype == torch.uint8 else frames
        gradient = self._identity.pixel_gradient(pixels, offset, measured.result, reference.reward)
        return torch.linalg.vector_norm(gradient, dim=1)


def _source(clip: Clip) -> Path:
    return clip.row.input_image or clip.row.video
