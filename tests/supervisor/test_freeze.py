"""A configuration is complete before it is frozen, and nothing below it knows of the embedded family."""

from __future__ import annotations

import json
from pathlib import Path

import fake_runs
import pytest

from rewardfl_app.config.presets import preset
from rewardfl_app.pocket import paths, pocket_data
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import freeze


def test_embedded_scorers_are_filled_in_only_where_none_are_named(tmp_path: Path) -> None:
    pocket = freeze.with_embedded_scorers(preset("pocket"))
    assert pocket.reward.reward_model_path == str(paths.FACE_PACK)
    assert pocket.reward.judge_model_path == str(paths.JUDGE)
    own = fake_runs.config(tmp_path)
    assert freeze.with_embedded_scorers(own) == own


def test_embedded_models_become_a_list_of_paths_like_any_other(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    frozen = freeze.with_embedded_models(preset("pocket"), run)
    assert frozen.model.model_paths == str(run.model_paths)
    names = [Path(path).name for path in json.loads(run.model_paths.read_text())]
    assert names == ["transformer", "transformer_2", "text_encoder", "vae"]
    assert frozen.model.tokenizer_path == str(paths.WAN / "tokenizer")
    own = fake_runs.config(tmp_path / "files")
    assert freeze.with_embedded_models(own, run) == own


def test_embedded_clips_are_filled_in_only_where_none_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def ensure(folder: Path) -> tuple[Path, Path]:
        asked.append(folder)
        return folder / "train.csv", folder / "eval.csv"

    monkeypatch.setattr(pocket_data, "ensure", ensure)
    filled = freeze.with_embedded_data(preset("pocket"), tmp_path)
    assert asked == [tmp_path / freeze.EMBEDDED_DATA_FOLDER]
    assert filled.data.metadata_path == str(asked[0] / "train.csv")
    assert filled.evaluation.metadata_path == str(asked[0] / "eval.csv")
    own = fake_runs.config(tmp_path / "files")
    assert freeze.with_embedded_data(own, tmp_path) == own and len(asked) == 1


def test_paths_become_absolute_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = fake_runs.config(Path("files"))
    named = named.model_copy(update={"model": named.model.model_copy(update={"low_noise_lora": "own/a.safetensors"})})
    config = freeze.absolute_paths(named)
    assert config.model.low_noise_lora == str(tmp_path / "own" / "a.safetensors")
    assert config.model.high_noise_lora is None
    assert config.reward.reward_model_path == str(tmp_path / "files" / "faces")
    assert config.model.model_name == "wan2_2" and config.model.model_id_with_origin_paths is None
    assert config.evaluation.metadata_path is None
