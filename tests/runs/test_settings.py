"""The settings of a run: the frozen ones with every change that stands, now or at a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardfl_app.config import changes as config_changes
from rewardfl_app.config import files, presets
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs import changes, settings
from rewardfl_app.runs.changes import Change, spoken
from rewardfl_app.runs.folder import RunFolder

RATE, TARGET = "train.learning_rate", "reward.kl_target"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path, "first")
    files.dump(presets.preset("pocket"), made.config)
    return made


def rates(run: RunFolder, *steps: int) -> list[float]:
    return [settings.in_force(run, step).train.learning_rate for step in steps]


def test_without_changes_they_are_the_frozen_ones(run: RunFolder) -> None:
    assert settings.load(run) == settings.in_force(run, 7) == presets.preset("pocket")


def test_a_change_holds_from_its_step_on(run: RunFolder) -> None:
    changes.record(run, Change(13, RATE, 5e-4, 1e-4))
    changes.record(run, Change(20, RATE, 1e-4, 2e-5))
    changes.record(run, Change(20, TARGET, None, 0.5))
    assert rates(run, 12, 13, 19, 20, 99) == [5e-4, 1e-4, 1e-4, 2e-5, 2e-5]
    assert settings.in_force(run, 19).reward.kl_target is None
    assert settings.load(run).reward.kl_target == 0.5


def test_a_later_word_takes_back_what_an_abandoned_stretch_said(run: RunFolder) -> None:
    """The run was killed after step 23, went on from 10, and was changed at step 15."""
    for step, after in ((5, 4e-4), (13, 1e-4), (23, 2e-4)):
        changes.record(run, Change(step, RATE, 0.0, after))
    changes.record(run, Change(15, RATE, 1e-4, 9e-4))
    assert [change.after for change in changes.read(run)] == [4e-4, 1e-4, 9e-4]
    assert rates(run, 4, 5, 13, 15, 23) == [5e-4, 4e-4, 1e-4, 9e-4, 9e-4]


def test_what_applies_at_resume_has_its_newest_value_at_every_step(run: RunFolder) -> None:
    changes.record(run, Change(21, "deepspeed.zero_stage", 0, 2))
    assert settings.in_force(run, 10).deepspeed.zero_stage == 2


def test_a_torn_line_and_one_that_is_no_change_are_passed_over(run: RunFolder) -> None:
    changes.record(run, Change(3, RATE, 5e-4, 1e-4))
    with open(run.changes, "a") as file:
        file.write('{"step": "x"}\n[1]\n{"step": 4, "field": "train.lea')
    assert [change.step for change in changes.read(run)] == [3]


def test_a_change_of_a_field_that_is_not_there_is_an_error_that_names_it(run: RunFolder) -> None:
    changes.record(run, Change(3, "train.momentum", 0, 1))
    with pytest.raises(ConfigError, match=r"train\.momentum"):
        settings.load(run)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "1e-4"),
        (2.5e-6, "2.5e-6"),
        (0.005, "0.005"),
        (-3e-5, "-3e-5"),
        (0.0, "0"),
        (2.0, "2"),
        (True, "on"),
        (None, "empty"),
        ("", "empty"),
        ("expert", "expert"),
        (7, "7"),
    ],
)
def test_values_are_spoken_as_people_write_them(value: Any, text: str) -> None:
    assert spoken(value) == text


def test_the_sentence_of_a_change() -> None:
    assert Change(13, RATE, 5e-4, 1e-4).sentence == "learning_rate is 1e-4 from step 13 on; it was 5e-4."


def test_an_empty_value_is_one_only_where_a_field_may_be_empty() -> None:
    config = presets.preset("pocket")
    assert config_changes.changed(config, {TARGET: " "}, "live").reward.kl_target is None
    with pytest.raises(ConfigError, match="learning_rate is empty"):
        config_changes.changed(config, {RATE: None}, "live")
    kept = config_changes.changed(config, {"train.lr_scheduler_kwargs": ""}, "resume")
    assert kept.train.lr_scheduler_kwargs == ()


def test_every_problem_is_told_at_once() -> None:
    asked = {RATE: -1, "train.seed": 3, "nope.x": 1, "train.nope": 1, "reward.kl_weight": 2}
    with pytest.raises(ConfigError) as error:
        config_changes.changed(presets.preset("pocket"), asked, "live")
    assert {problem.field for problem in error.value.problems} == {RATE, "train.seed", "nope.x", "train.nope"}
