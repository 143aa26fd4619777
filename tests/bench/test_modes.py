from __future__ import annotations

from pathlib import Path

import fake_runs
import pytest

from rewardfl_app.bench import modes
from rewardfl_app.bench.modes import Outcome
from rewardfl_app.config import files, presets, validation
from rewardfl_app.runs.folder import RunError


@pytest.mark.parametrize("changes", modes.VARIANTS.values(), ids=modes.VARIANTS)
def test_every_variant_is_a_valid_change_of_the_preset(changes: tuple[str, ...]) -> None:
    preset = files.to_mapping(presets.preset("pocket"))
    changed = files.to_mapping(validation.build(files.override(preset, changes), check_files=False))
    for change in changes:
        name, _, value = change.partition("=")
        section, field = name.split(".")
        assert str(changed[section][field]).lower().removesuffix(".0") == value


def test_runs_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_runs.trainer_environment("completes").items():
        monkeypatch.setenv(name, value)
    found = modes.measure(tmp_path, ["K = 1", "no KL"], [1], ["train.max_steps=3"], jobs=2)
    assert [(one.variant, one.seed) for one in found] == [("K = 1", 1), ("no KL", 1)]
    assert found[0].judge == pytest.approx(0.1) and found[0].motion == pytest.approx(3.1 / 3)
    configs = {path.parent.name: files.load(path, check_files=False) for path in tmp_path.glob("2*/config.yaml")}
    assert sorted(config.reward.kl_weight for config in configs.values()) == [0.0, 5.0]
    assert {(config.train.seed, config.train.max_steps) for config in configs.values()} == {(1, 3)}
    assert modes.measure(tmp_path, ["K = 1", "no KL"], [1], ["train.max_steps=3"], jobs=1) == found
    assert len(list(tmp_path.glob("2*/config.yaml"))) == 2


def test_a_run_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake_runs.trainer_environment("crashes").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="K = 1, seed 1 did not complete"):
        modes.measure(tmp_path, ["K = 1"], [1], [], jobs=1)


def outcome(variant: str, seed: int, judge: float | None, alarm: str | None = None) -> Outcome:
    return Outcome(variant, seed, reward=0.1, judge=judge, motion=0.9, step_seconds=2.0, alarm=alarm)


def test_means_over_seeds_and_their_range() -> None:
    runs = [outcome("a", 1, 0.02), outcome("b", 1, None), outcome("a", 2, 0.06, "hacked")]
    first, second = modes.summary(runs)
    assert (first.judge, first.judge_low, first.judge_high) == (pytest.approx(0.04), 0.02, 0.06)
    assert (first.seeds, first.alarms, second.judge) == (2, 1, None)
    lines = modes.table([first, second]).splitlines()
    assert lines[2] == "| a | +0.100 | +0.040 (+0.020 to +0.060) | 90% | 2.00 | 1 of 2 |"
    assert lines[3] == "| b | +0.100 | - (- to -) | 90% | 2.00 | 0 of 1 |"
