"""A scorer that finds one face in the middle of every frame, at no cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from painted_faces import painted_pack
from torch import Tensor, nn

from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.rewards.alignment import TEMPLATE
from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.identity import IdentityReward


class SteadyFaces(nn.Module):
    """Stands where the detector is."""

    def detect(self, frames: Tensor, det_size: int = 640, threshold: float = 0.5, nms: float = 0.4) -> list[Faces]:
        box = torch.tensor([[20.0, 20.0, 70.0, 70.0, 0.9]])
        points = torch.tensor(TEMPLATE)[None] / 112 * 50 + 20
        return [Faces(box.clone(), points.clone()) for _ in frames]

    @classmethod
    def scorer(cls) -> Scorer:
        detector: Any = cls()
        pack = replace(painted_pack(), detector=detector)
        return Scorer(IdentityReward(pack, RewardConfig()), None, torch.device("cpu"))
