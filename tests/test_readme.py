"""What the README shows works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from rewardfl_app.rewards.identity import RewardResult
from rewardfl_app.rewards.mixture import Mixture

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_reward_of_the_readme_is_one(tmp_path: Path, monkeypatch: Any) -> None:
    code = re.search(r"((?:^    .*\n|^\n)*^    class Steady(?:.*\n)(?:^    .*\n|^\n)*)", README, re.MULTILINE)
    assert code is not None
    (tmp_path / "my_rewards.py").write_text(re.sub(r"^    ", "", code[1], flags=re.MULTILINE), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    video = torch.stack([torch.zeros(3, 4, 8, 8), torch.rand(3, 4, 8, 8)]).requires_grad_()
    faces = [RewardResult(clip[:0].sum(), False, 0.0, [], [], []) for clip in video]
    mixture = Mixture([("face_similarity", 1.0), ("my_rewards:Steady", 0.5)], torch.device("cpu"))
    still, noisy = mixture.combine(video, faces, [None, None])
    assert float(still.total.detach()) == 0.0 > float(noisy.total.detach())
    assert noisy.total.requires_grad and noisy.counted
