"""What freezing filled in is taken out again; what a person gave stays."""

from __future__ import annotations

from pathlib import Path

from rewardfl_app.config import presets
from rewardfl_app.config.schema import Config
from rewardfl_app.config.validation import build
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import freeze
from rewardfl_app.supervisor.thaw import without_embedded


def _frozen(config: Config, runs_dir: Path) -> Config:
    complete = freeze.with_embedded_data(freeze.with_embedded_scorers(config), runs_dir)
    return freeze.with_embedded_models(complete, RunFolder.create(runs_dir, "a run"))


def test_a_frozen_preset_thaws_to_the_preset(tmp_path: Path) -> None:
    preset = presets.preset("pocket")
    frozen = _frozen(preset, tmp_path)
    assert frozen.model.model_paths and frozen.model.tokenizer_path and frozen.reward.judge_model_path
    assert without_embedded(frozen) == preset


def test_it_does_not_matter_where_runs_and_package_lay(tmp_path: Path) -> None:
    text = _frozen(presets.preset("pocket"), tmp_path).model_dump_json().replace(str(tmp_path), "/old/runs")
    package = str(Path(freeze.__file__).resolve().parents[2])
    moved = Config.model_validate_json(text.replace(package, "/old/checkout"))
    assert without_embedded(moved) == presets.preset("pocket")


def test_paths_of_ones_own_stay(tmp_path: Path) -> None:
    given = {
        "model": {"model_name": "pocket", "model_paths": "/mine/paths.json", "tokenizer_path": "/mine/tokenizer"},
        "data": {"metadata_path": "/mine/metadata.csv", "num_frames": 17},
        "evaluation": {"metadata_path": "/mine/metadata_eval.csv"},
        "reward": {"reward_model_path": "/packs/pocket", "judge_model_path": "/mine/judge.onnx"},
        "train": {"train_batch_size": 1},
    }
    config = build(given, check_files=False)
    assert without_embedded(config) == config
    wan = presets.preset("wan22_i2v_a14b")
    assert without_embedded(wan) == wan
