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

    def report(self, *, fps: float, height: int, width: int, prompt: str, seed: int | None) -> dict[str, Any]:
        """The content of a sample's faces.json."""
        return faces_report(
            self.result, self.judged, video="video.mp4", fps=fps, height=height, width=width, prompt=prompt, seed=seed
        )


class Scorer:
    """The identity reward with the judge beside it."""

    def __init__(self, identity: IdentityReward, judge: Recogniser | None, device: torch.device) -> None:
        self._identity = identity
        self._judge = judge
        self._device = device

    @classmethod
    def load(cls, reward: RewardConfig, device: torch.device | str = "cpu") -> Scorer:
        """Loads the face pack and the judge a configuration names. Raises PackError."""
        device = torch.device(device)
        pack = load_pack(Path(reward.reward_model_path or ""), device=device)
        judge = load_recogniser(Path(reward.judge_model_path), device=device) if reward.judge_model_path else None
        return cls(IdentityReward(pack, reward), judge, device)

    @torch.no_grad()
    def reference(self, clip: Clip, with_judge: bool = True) -> ClipReference:
        """The reference of a real clip; the judge's part only where it will be measured.

        Raises DataError naming the row when the first frame shows no face.
        """
        frames = clip.video.to(self._device).transpose(0, 1).contiguous()
        first = clip.first_frame.to(self._device)
        # The first frame the model is given may be an image of its own; the judge must embed what the reward saw.
        frames = torch.cat([first[None], frames[1:]])
        known = self._identity.reference(frames, first)
        if not known.faces[0]:
            raise DataError(f"Row {clip.row.index}: no face was found in the first frame of {_source(clip)}.")
        judge = self._judge if with_judge else None
        return ClipReference(known, None if judge is None else judging.reference(judge, frames, known))

    def has_face(self, first_frames: Tensor) -> list[bool]:
        """Whether each of the first frames [N, 3, H, W] shows a face."""
        settings = self._identity.settings
        found = self._identity.pack.detector.detect(
            first_frames.to(self._device), settings.det_size, settings.det_threshold, settings.nms_threshold
        )
        return [len(faces) > 0 for faces in found]

    def rewards(self, video: Tensor, references: Sequence[ClipReference]) -> list[RewardResult]:
        """The rewards of a batch [B, 3, T, H, W] in about [-1, 1], with gradients to the pixels."""
        return self._identity.score_batch(video, [reference.reward for reference in references])

    @torch.no_grad()
    def measure(self, video: Tensor, references: Sequence[ClipReference]) -> list[Measurement]:
        """Everything measured on each video of a batch [B, 3, T, H, W]; pixels beyond [-1, 1] are clamped."""
        video = video.to(self._device).clamp(-1, 1)
        measured = []
        for clip, result, known in zip(video, self.rewards(video, references), references, strict=True):
            judged = judging.measure(clip.transpose(0, 1), result.faces, self._judge, known.judge)
            measured.append(Measurement(result, judged))
        return measured


def _source(clip: Clip) -> Path:
    return clip.row.input_image or clip.row.video
