"""Configurations as YAML, and changes by section.field=value."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(
    model_paths=st.none() | TEXT,
    extra=st.lists(st.sampled_from(["q", "k", "v", "o", "ffn.0"]), max_size=5),
    rate=st.floats(1e-12, 10),
    mean=st.floats(allow_nan=False, allow_infinity=False),
    seed=st.integers(0, 2**63 - 1),
    size=st.none() | st.integers(16, 4096),
    hinge=st.booleans(),
)
def test_yaml_gives_back_the_same_configuration(
    model_paths: str | None, extra: list[str], rate: float, mean: float, seed: int, size: int | None, hinge: bool
) -> None:
    config = Config.model_validate(
        {
            "model": {"model_paths": model_paths},
            "lora": {"lora_target_modules": extra},
            "train": {"learning_rate": rate, "seed": seed},
            "reward": {"reward_mean": mean, "hinge": hinge},
            "data": {"height": size},
        }
    )
    assert Config.model_validate(yaml.safe_load(files.to_yaml(config))) == config


@pytest.mark.parametrize("name", presets.names())
def test_a_dumped_file_loads_again(name: str, tmp_path: Path) -> None:
    config = presets.preset(name)
    files.dump(config, tmp_path / "config.yaml")
    assert Config.model_validate(files.read(tmp_path / "config.yaml")) == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_lists_are_comma_text_in_the_file() -> None:
    assert "lora_target_modules: q,k,v,o,ffn.0,ffn.2" in files.to_yaml(Config())


def test_load_reads_what_a_person_writes(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    lines = [
        "\ufeffmodel:",
        "  model_name: pocket",
        "  extra_inputs: [input_image]",
        "train:",
        "  train_batch_size: 1",
        "  weight_decay:",
        "  learning_rate: 1e-5",
        "deepspeed:",
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    config = files.load(path)
    assert config.train.learning_rate == 1e-5
    assert config.train.weight_decay == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [unclosed", "is not YAML"),
        ("- a\n- b\n", "holds a list"),
        ("train:\n  seed: 1\n  seed: 2\n", "line 3: train.seed is written twice"),
        ("train:\n  seed: 1\ntrain:\n  max_steps: 2\n", "train is written twice"),
        ("model: !!python/object/apply:os.system ['true']\n", "is not YAML"),
    ],
)
def test_a_bad_file_is_one_clear_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        files.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        files.read(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n", encoding="utf-8")
    assert files.read(tmp_path / "empty.yaml") == {}


def test_overrides_are_read_as_yaml_and_leave_the_original_alone() -> None:
    original = files.to_mapping(presets.preset("pocket"))
    changed = files.override(
        original,
        ["train.seed=7", "train.learning_rate=1e-4", "reward.hinge=true", "data.metadata_path=", "lora.lora_alpha=8"],
    )
    config = validation.build(changed)
    assert (config.train.seed, config.train.learning_rate, config.reward.hinge) == (7, 1e-4, True)
    assert (config.data.metadata_path, config.lora.lora_alpha) == (None, 8.0)
    assert original == files.to_mapping(presets.preset("pocket"))


def test_an_override_may_name_a_section_that_is_not_there_yet() -> None:
    assert files.override({}, ["train.seed=1"]) == {"train": {"seed": 1}}
    assert files.override({"train": None}, ["train.seed=1"]) == {"train": {"seed": 1}}


def test_malformed_overrides_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        files.override({}, ["learning_rate=1", "train.seed", "train.seed=[1", "=3"])
    assert len(caught.value.problems) == 4
    assert "did you mean train.learning_rate?" in caught.value.problems[0].message


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean pocket"):
        presets.preset("poket")
