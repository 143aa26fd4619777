"""What the README shows works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from rewardfl_app.cli import app
from rewardfl_app.config import presets
from rewardfl_app.config.problems import section_fields
from rewardfl_app.planning import memory_plan
from rewardfl_app.rewards.identity import RewardResult
from rewardfl_app.rewards.mixture import Mixture

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = {"README.md": README, "CONTRIBUTING.md": (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")}


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


def test_the_memory_of_the_presets_is_what_is_planned() -> None:
    rows = re.findall(r"^\| `(wan22_\w+)` \|.*\| ([\d.]+) GB, ([\d.]+) GB \|$", README, re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(name for name in presets.names() if name != "pocket")
    for name, device, host in rows:
        config = presets.preset(name)
        plan = memory_plan.plan(config, on_gpu=True, per_machine=min(config.deepspeed.num_processes, 8))
        assert float(device) == pytest.approx(plan.device_peak.device_gb, abs=0.051)
        assert float(host) == pytest.approx(plan.host_peak.host_gb, abs=0.051)


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_that_is_named_is_there(name: str) -> None:
    named = set(re.findall(r"`((?:rewardfl_app|tests|notebooks|\.ci|\.github|\.pictures)/[\w./*-]+)`", TEXTS[name]))
    named |= set(re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXTS[name]))
    assert named and [path for path in sorted(named) if not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_is_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its words and options are known to the program that is named."""
    commands = re.findall(r"python -m rewardfl_app ((?:[^`\n\\]|\\\n)+)", TEXTS[name])
    assert name != "README.md" or len(commands) > 25
    known = {command.name for command in typer.main.get_command(app.app).commands.values()}  # type: ignore[attr-defined]
    for text in commands:
        words = text.partition("#")[0].replace("\\\n", " ").split()
        for word in words[0].split("|"):
            assert word in known | {"COMMAND"}, text
            if word not in known:
                continue
            assert app.main([word, "--help"]) == 0
            told = capsys.readouterr().out
            for option in (each for each in words[1:] if each.startswith("--")):
                assert option.partition("=")[0] in told, text


def test_every_setting_that_is_named_is_one() -> None:
    sections = section_fields()
    for section, field in re.findall(r"`(\w+)\.(\w+)(?:[=:`])", README):
        if section in sections and f"{section}.{field}" != "train.log":
            assert field in sections[section], f"{section}.{field}"
    for assignment in re.findall(r"--set (\w+\.\w+)=", README):
        section, _, field = assignment.partition(".")
        assert field in sections[section], assignment
