"""YAML configurations of every kind: what comes out is a configuration or a ConfigError, nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import hostile
import pytest
import yaml
from budget import Tally, drawn
from damage import Cut, cuts, damaged
from gradio.routes import ORJSONResponse
from guard import guarded
from hypothesis import given
from hypothesis import strategies as st

from rewardfl_app.config import changes, files, presets, validation
from rewardfl_app.config.problems import ConfigError, section_fields

LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS = (
    LAUGHS,
    "train: &t {seed: 1}\nmodel: *t\n",
    "train: {seed: &s 1, max_steps: *s}\n",
    "a: &a [*a]\n",
    "train:\n  <<: {seed: 1}\n",
    "train:\n  seed: !!python/object/apply:os.getpid []\n",
    "train:\n  seed: !!int ''\n",
    "train:\n  seed: !!timestamp 'x'\n",
    "train:\n  seed: !!bool 'x'\n",
    "train:\n  seed: 2024-99-99\n",
    "train:\n  seed: " + "9" * 5000 + "\n",
    "train:\n  learning_rate: .inf\n",
    "train:\n  seed: 1:60:60\n",
    "? [a, b]\n: 1\n",
    "? {a: 1}\n: 1\n",
    "1: {2: 3}\n",
    "null: {null: null}\n",
    "train: {1: 2, null: 3, true: 4, 1.5: 6, 2020-01-01: 7}\n",
    "--- a\n--- b\n",
    "train: {seed: 1\n",
    "\t- a\n",
    "%YAML 9.9\n---\ntrain: {}\n",
    "%TAG ! tag:x:\n---\ntrain: !y {}\n",
    "train: " + "[" * 2000,
    "train: " + "{a: " * 1000,
    "- " * 1000,
    "? " * 1000,
    "a: " * 3000,
    "train:\n" + "".join(f"  s{index}: {index}\n" for index in range(2000)),
    "x" * 200_000,
    "'" * 100_000,
    "train: {seed: '\ud800'}\n",
    "train: {seed: \"\\ud800\", wandb: \"\\x00\"}\n",
    "data: {metadata_path: \"\\0\"}\nmodel: {model_paths: \"\\0\", model_name: wan2_2, tokenizer_path: \"\\0\"}\n"
    "reward: {reward_model_path: \"\\0\", judge_model_path: \"\\0\"}\ndeepspeed: {hostfile: \"\\0\"}\n",
    "data: {metadata_path: " + "x/" * 4000 + "}\nmodel: {model_paths: " + "x" * 4000 + ", model_name: wan2_2}\n",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**30, 10**400, 1.5, 1e308, float("inf"), float("nan"), "", "a", "1", "\0", "\ud800",
    "../../x", "~nobody/x", "$HOME", "x" * 5000, "a=b", "a=1,b", ",", "=", ":", [], [None], ["a", 1], {},
    {"a": 1}, {"a": []}, [[[]]], b"x",
)  # fmt: skip


def _read(path: Path) -> None:
    """Everything that is done with the configuration somebody names; only ConfigError may come out."""
    with contextlib.suppress(ConfigError):
        written = files.read(path)
        try:
            files.to_yaml(validation.build(written))
        except ConfigError as error:
            assert len(str(error)) < 1_000_000
            ORJSONResponse._render([problem.__dict__ for problem in error.problems])
        validation.build(files.override(written, ["train.seed=1"]), check_files=False)


@pytest.mark.parametrize("kind", hostile.ODD_FILES)
def test_a_configuration_that_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    hostile.ODD_FILES[kind](path)
    with guarded(tmp_path), pytest.raises(ConfigError, match="config.yaml"):
        files.load(path)


def test_texts_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text in [*hostile.TEXTS, *(text.encode("utf-8", "surrogatepass") for text in TEXTS)]:
        path.write_bytes(text)
        with guarded(tmp_path):
            _read(path)


def test_aliases_and_tags_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(LAUGHS)
    with guarded(tmp_path), pytest.raises(ConfigError, match=r"config\.yaml.*\*a stands for another value.*line 2"):
        files.load(path)
    path.write_text("train:\n  seed: !!python/object/apply:os.getpid []\n")
    with guarded(tmp_path), pytest.raises(ConfigError, match="remove the tag"):
        files.load(path)


def test_every_field_with_every_hostile_value(tmp_path: Path) -> None:
    """Values that YAML cannot write come from the page and the command line."""
    count = 0
    for section, fields in section_fields().items():
        for field in [*fields, "unknown"]:
            with guarded(tmp_path):
                for value in VALUES:
                    count += 1
                    with contextlib.suppress(ConfigError):
                        validation.build({"model": {"model_name": "wan2_2"}, section: {field: value}})
    assert count > 2000


def test_damaged_configurations(tmp_path: Path) -> None:
    whole = files.to_yaml(presets.preset("pocket")).encode()
    path, ran = tmp_path / "config.yaml", Tally("configuration")

    @drawn("configuration")
    @given(cuts())
    def case(by: list[Cut]) -> None:
        ran.one()
        path.write_bytes(damaged(whole, by))
        with guarded(tmp_path):
            _read(path)

    case()
    ran.check()


def test_yaml_of_any_shape(tmp_path: Path) -> None:
    path, ran = tmp_path / "config.yaml", Tally("configuration text")
    keys = st.one_of(
        st.sampled_from([*section_fields(), *section_fields()["train"]]), st.text(max_size=5), st.integers()
    )
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates())
    trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4))

    @drawn("configuration text")
    @given(st.dictionaries(keys, trees, max_size=4), st.booleans(), st.text(max_size=30))
    def case(content: dict[Any, Any], flow: bool, rest: str) -> None:
        ran.one()
        text = yaml.safe_dump(content, allow_unicode=True, default_flow_style=flow) + rest
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with guarded(tmp_path):
            _read(path)

    case()
    ran.check()


def test_settings_changed_to_anything(tmp_path: Path) -> None:
    config, ran = presets.preset("pocket"), Tally("changed settings")
    names = [f"{section}.{field}" for section, fields in section_fields().items() for field in fields]
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(VALUES)
    )
    assignment = st.tuples(st.sampled_from(names) | st.text(max_size=20), st.text(max_size=20) | st.just("!!int ''"))

    @drawn("changed settings")
    @given(st.dictionaries(st.sampled_from(names) | st.text(max_size=8), leaves, max_size=4), st.lists(assignment))
    def case(values: dict[str, Any], assignments: list[tuple[str, str]]) -> None:
        ran.one()
        with guarded(tmp_path):
            for at in ("live", "resume"):
                with contextlib.suppress(ConfigError):
                    changes.changed(config, values, at)  # type: ignore[arg-type]
            with contextlib.suppress(ConfigError):
                validation.build(files.override({}, [f"{name}={text}" for name, text in assignments]))

    case()
    ran.check()
