"""Presets as they are on the machine at hand."""

from __future__ import annotations

import pytest

from rewardfl_app.config import devices, presets, validation
from rewardfl_app.config.problems import ConfigError


@pytest.mark.parametrize(
    ("gpus", "processors", "processes", "videos"),
    [("", 2, 2, 1), ("", 16, 2, 1), ("", 1, 1, 2), ("0", 16, 1, 2), ("0,1", 16, 1, 2)],
)
def test_the_embedded_model_takes_what_the_machine_has(
    gpus: str, processors: int, processes: int, videos: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setattr(devices, "num_processors", lambda: processors)
    pocket = presets.preset("pocket")
    assert (pocket.deepspeed.num_processes, pocket.train.per_device_train_batch_size) == (processes, videos)
    assert pocket.train.train_batch_size == 2
    assert not [found for found in validation.problems(pocket, check_files=False) if found.field.startswith("train.")]


def test_the_other_presets_are_for_their_own_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for gpus in ("", "0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        seen.append([presets.preset(name) for name in presets.names() if name != "pocket"])
    assert seen[0] == seen[1]


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="pocket"):
        presets.preset("pockets")
