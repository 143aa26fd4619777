"""The inference process on a run folder: the same model and noise as the evaluation during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_family
import torch
from brightness_trainer import BrightnessScorer

from rewardfl_app.config import files
from rewardfl_app.data import video
from rewardfl_app.inference.__main__ import main
from rewardfl_app.models import adaptation, lora, wan
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, samples
from rewardfl_app.runs.folder import RunFolder


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_family.make_family(tmp_path_factory.mktemp("family"))


@pytest.fixture
def run(family: Path, tmp_path: Path) -> RunFolder:
    """A run with one checkpoint whose LoRA changes the picture."""
    run = tiny_family.make_run(family, tmp_path / "runs", "trained")
    config = files.load(run.config)
    expert = wan.load(config.model).experts["low_noise"]
    lora.add(expert, config.lora.lora_target_modules, config.lora.lora_rank, None, seed=0)
    with torch.no_grad():
        for parameter in lora.trainable_parameters(expert):
            parameter.fill_(0.3)
    folder = checkpoints.begin(run, 5)
    lora.save(expert, adaptation.checkpoint_file(folder, "low_noise"))
    checkpoints.commit(run, 5, folder)
    return run


@pytest.fixture
def image(family: Path, tmp_path: Path) -> Path:
    from PIL import Image

    Image.fromarray(video.read(family / "clip0.mp4", 1)[0]).save(tmp_path / "face.png")
    return tmp_path / "face.png"


def generate(run: RunFolder, image: Path, out: Path, *more: str) -> int:
    return main(
        ["generate", "--run", str(run.path), "--image", str(image), "--prompt", "a man", "--out", str(out), *more]
    )


def test_seeds_and_checkpoints_decide_the_video(run: RunFolder, image: Path, tmp_path: Path) -> None:
    arguments = {
        "base": ("base", "1"),
        "again": ("base", "1"),
        "other": ("base", "2"),
        "tuned": ("latest", "1"),
        "five": ("5", "1"),
    }
    clips = {}
    for name, (checkpoint, seed) in arguments.items():
        out = tmp_path / f"{name}.mp4"
        assert generate(run, image, out, "--checkpoint", checkpoint, "--seed", seed) == 0
        clips[name] = video.read(out)
    assert clips["base"].shape == (9, 32, 32, 3)
    assert np.array_equal(clips["base"], clips["again"])
    assert np.array_equal(clips["tuned"], clips["five"])
    assert not np.array_equal(clips["base"], clips["other"])
    assert not np.array_equal(clips["base"], clips["tuned"])


def watched(monkeypatch: pytest.MonkeyPatch) -> list[wan.WanModel]:
    """The models that are loaded from now on."""
    models: list[wan.WanModel] = []
    load = wan.load

    def loading(*arguments: Any) -> wan.WanModel:
        models.append(load(*arguments))
        return models[-1]

    monkeypatch.setattr(wan, "load", loading)
    return models


def test_what_encodes_the_inputs_makes_room(
    run: RunFolder, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = watched(monkeypatch)
    assert generate(run, image, tmp_path / "a.mp4", "--checkpoint", "base") == 0
    assert models[0].resident == {"high_noise", "low_noise", "vae"}


def test_bad_input_is_one_line(run: RunFolder, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(run, image, tmp_path / "a.mp4", "--checkpoint", "7") == 2
    assert "no complete checkpoint '7'" in capsys.readouterr().err
    assert generate(run, tmp_path / "none.png", tmp_path / "a.mp4", "--checkpoint", "base") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "none.png" in errors[0]


def test_evaluate_writes_the_samples_of_a_checkpoint(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())
    models = watched(monkeypatch)
    assert main(["evaluate", "--run", str(run.path), "--checkpoint", "latest"]) == 0
    assert main(["evaluate", "--run", str(run.path), "--checkpoint", "base"]) == 0
    assert models[1].resident == {"low_noise", "vae"}, "the rest was kept by the first"
    found = samples.list_samples(run)
    assert {step: len(each) for step, each in found.items()} == {0: 3, 5: 3}
    rewards = [[sample.load_faces()["reward"] for sample in found[step]] for step in (0, 5)]
    assert rewards[0] != rewards[1]
    assert set(samples.list_references(run)) == {sample.name for sample in found[5]}
