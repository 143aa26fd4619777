"""Every field of the configuration is acted on: what the program asks of it is written down while it works.

Reading a field in order to check, save, show or copy a configuration is not acting on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lora_files
import pytest
import tiny_wan
from brightness_trainer import BrightnessScorer
from lora_files import Matrices

from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.schema import Config
from rewardfl_app.config.section import Section
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import freeze
from rewardfl_app.training.__main__ import main

MakeRun = Callable[..., RunFolder]

# Modules that only pass configurations on.
PASSING_ON = ("rewardfl_app.config.", "rewardfl_app.supervisor.freeze")
ACTING = "rewardfl_app.config.schedule"
# Fields that act by what is refused: there is nothing else for a value to do.
BY_REFUSAL = {
    "model.max_timestep_boundary": "model.max_timestep_boundary=0.95",  # sampling starts at t/1000 = 1
    "train.train_batch_size": "train.train_batch_size=3",  # the product of its parts
}
# What needs a launcher, a hub or a second size of clips, with the test that shows what it does.
ELSEWHERE = {
    "deepspeed.devices": "supervisor/test_device_lock.py",
    "deepspeed.share_devices": "supervisor/test_device_lock.py",
    "deepspeed.hostfile": "supervisor/test_hostfile.py",
    "deepspeed.num_processes": "supervisor/test_preflight.py",
    "model.model_name": "supervisor/test_freeze.py",
    "model.model_id_with_origin_paths": "models/test_wan.py",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The fields that acting modules read, as section.field."""
    names = {info.annotation: name for name, info in Config.model_fields.items()}
    found: set[str] = set()
    read = Section.__getattribute__

    def noting(self: Section, name: str) -> Any:
        kind = type(self)
        if kind in names and name in kind.model_fields:
            module = sys._getframe(1).f_globals.get("__name__", "")
            if module.startswith("rewardfl_app.") and (module == ACTING or not module.startswith(PASSING_ON)):
                found.add(f"{names[kind]}.{name}")
        return read(self, name)

    monkeypatch.setattr(Section, "__getattribute__", noting)
    yield found


def all_fields() -> set[str]:
    return {
        f"{section}.{field}"
        for section, info in Config.model_fields.items()
        for field in info.annotation.model_fields  # type: ignore[union-attr]
    }


def test_every_field_is_acted_on(
    asked: set[str], make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(pocket_run(tmp_path / "runs").path)]) == 0
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())
    for run in tiny_runs(make_run):
        assert main([str(run.path)]) == 0
    unread = all_fields() - asked - set(BY_REFUSAL) - set(ELSEWHERE)
    assert not unread, f"nothing acts on {sorted(unread)}"


def pocket_run(runs_dir: Path) -> RunFolder:
    """A short run with faces that uses many parts at once."""
    pocket = presets.preset("pocket").model_dump()
    pocket["train"] |= {"max_steps": 1, "save_steps": 1, "ema_decay": 0.5, "num_train_epochs": 2}
    pocket["evaluation"] |= {"num_samples": 1, "batch_size": 1}
    pocket["reward"] |= {"kl_target": 0.01, "gradient_frame_stride": 2, "anchor_weight": 0.1}
    pocket["sampling"] |= {"mid_timestep": 6, "prefix_seeds": 1, "decode_chunk": 1, "decode_region": True}
    pocket["model"] |= {"use_gradient_checkpointing": True}
    pocket["lora"] |= {"lora_dropout": 0.1}
    return frozen(pocket, runs_dir)


def tiny_runs(make_run: MakeRun) -> Iterator[RunFolder]:
    """What a single run cannot use beside that."""
    one = {"max_steps": 1}
    for mode in ("random_steps", "draft_lv"):
        yield make_run(mode, sampling={"gradient_mode": mode, "num_gradient_steps": 1}, train=one)
    file = lora_files.lightx2v(make_run("lora").path, Matrices.of(tiny_wan.transformer()))
    yield make_run("on-top", model={"low_noise_lora": str(file), "fuse_frozen_lora": False}, train=one)
    yield make_run(
        "whole",
        model={"offload_reference": True},
        lora={"lora_base_model": "none"},
        train=one,
        deepspeed={"zero_stage": 3, "offload_optimizer": True, "offload_parameters": True},
    )


def frozen(settings: dict[str, Any], runs_dir: Path) -> RunFolder:
    """A run folder with the embedded models filled in, as the supervisor makes it."""
    run = RunFolder.create(runs_dir, "pocket")
    config = freeze.with_embedded_scorers(freeze.with_embedded_data(validation.build(settings), runs_dir))
    files.dump(freeze.with_embedded_models(config, run), run.config)
    return run


@pytest.mark.parametrize(("field", "file"), ELSEWHERE.items())
def test_what_is_tested_elsewhere_is(field: str, file: str) -> None:
    text = (Path(__file__).resolve().parent.parent / file).read_text(encoding="utf-8")
    assert field.partition(".")[2] in text


@pytest.mark.parametrize(("field", "assignment"), BY_REFUSAL.items())
def test_what_acts_by_refusal_refuses(field: str, assignment: str) -> None:
    with pytest.raises(validation.ConfigError) as refused:
        validation.build(files.override(files.to_mapping(presets.preset("pocket")), [assignment]))
    assert [problem.field for problem in refused.value.problems] == [field]
