"""The reward and the judge on clips: what both compare with, the reward of a batch, and the full measurement of one
video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rewardfl_app.data.errors import DataError
from rewardfl_app.rewards import judge as judging
from rewardfl_app.rewards.identity import IdentityReward, Reference, RewardResult
from rewardfl_app.rewards.judge import JudgeReference, JudgeResult
from rewardfl_app.rewards.observation import FrameFaces, Observer
from rewardfl_app.rewards.pack import load_pack, load_recogniser
from rewardfl_app.rewards.recogniser import Recogniser
from rewardfl_app.rewards.report import faces_report

if TYPE_CHECKING:
    from rewardfl_app.config.schema import RewardConfig
    from rewardfl_app.data.dataset import Clip

MEASURES = ("reward", "judge", "motion", "face_rate", "sharpness")


@dataclass(frozen=True)
class ClipReference:
    """The faces of a real clip, as the reward and as the judge know them."""

    reward: Reference
    judge: JudgeReference | None


@dataclass(frozen=True)
class Measurement:
    """Everything measured on one video."""

    result: RewardResult
    judged: JudgeResult

    @property
    def values(self) -> dict[str, float | None]:
        """The measures by name (MEASURES); None where there was nothing to measure."""
        return {
            "reward": float(self.result.reward.detach()) if self.result.has_face else None,
            "judge": self.judged.judge,
            "motion": self.judged.motion,
            "face_rate": self.result.face_rate,
            "sharpness": self.judged.sharpness,
        }

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
        self._device = device

    @classmethod
    def load(cls, reward: RewardConfig, device: torch.device | str = "cpu") -> Scorer:
        """Loads the face pack and the judge a configuration names. Raises PackError."""
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
        return known

    def has_face(self, first_frames: Tensor) -> list[bool]:
        """Whether each of the first frames [N, 3, H, W] shows a face."""
        return [len(faces) > 0 for faces in self._observer.detect(first_frames.to(self._device))]

    def rewards(self, video: Tensor, references: Sequence[ClipReference]) -> list[RewardResult]:
        """The rewards of a batch [B, 3, T, H, W] in about [-1, 1], with gradients to the pixels."""
        return self._identity.score_batch(video, [reference.reward for reference in references])

    def measure(self, video: Tensor, references: Sequence[ClipReference]) -> list[Measurement]:
        """Everything measured on each video of a batch [B, 3, T, H, W]; pixels beyond [-1, 1] are clamped."""
        frames = video.transpose(1, 2)
        seen, length = self.observe(frames.reshape(-1, *frames.shape[2:])), frames.shape[1]
        return [self.measure_seen(seen[n * length : (n + 1) * length], known) for n, known in enumerate(references)]

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
