"""What is wrong before a run is started, and its memory, in a cell."""

from __future__ import annotations

import pytest

from rewardfl_app import Checked, check
from rewardfl_app.config.problems import ConfigError


def test_the_embedded_models_need_nothing() -> None:
    found = check()
    assert isinstance(found, Checked) and found.problems == [] and found.missing == []
    assert found.config is not None and found.config.model.model_name == "pocket"
    assert "no problem found" in found._repr_html_()


def test_what_is_missing_is_told_with_the_plan() -> None:
    found = check("wan22_80gb", device_gb=80, host_gb=256)
    assert found.missing.column("setting") == [
        "model.model_paths",
        "reward.reward_model_path",
        "data.metadata_path",
    ]
    assert found.fits is True and found.memory is not None
    peak = found.memory.plan.device_peak
    assert found.phases.column("each GPU, GB")[found.phases.column("phase").index(peak.name)] == peak.device_gb
    shown = found._repr_html_()
    assert "download wan2_2" in shown and "it fits" in shown and peak.name in shown


def test_a_smaller_card_does_not_do() -> None:
    found = check("wan22_80gb", {"data.num_frames": 49}, device_gb=24, host_gb=64)
    assert found.fits is False and found.config is not None and found.config.data.num_frames == 49


def test_a_value_that_is_none_is_a_problem_and_a_file_that_is_none_an_error() -> None:
    found = check("pocket", {"train.max_steps": "many"})
    assert found.config is None and found.fits is None and found.phases == []
    assert found.missing.column("setting") == ["train.max_steps"] and "max_steps" in found._repr_html_()
    with pytest.raises(ConfigError, match=r"no-such-preset\.yaml does not exist"):
        check("no-such-preset.yaml")
