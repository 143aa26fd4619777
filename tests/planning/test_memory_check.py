"""Whether a run fits, and the change that makes it fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rewardfl_app.config import files, presets
from rewardfl_app.config.schema import Config
from rewardfl_app.planning import machine, memory_check, memory_plan, memory_text
from rewardfl_app.planning.machine import Machine

# GB of a GPU, and of a machine, for which each preset is.
MADE_FOR = {
    "wan22_5b_24gb": (24.0, 64.0),
    "wan22_80gb": (80.0, 128.0),
    "wan22_141gb": (141.0, 256.0),
    "wan22_8x80gb": (80.0, 1000.0),
    "wan22_two_nodes": (80.0, 1000.0),
}


def with_settings(config: Config, settings: dict[str, object]) -> Config:
    changes = [f"{name}={str(value).lower()}" for name, value in settings.items()]
    return Config.model_validate(files.override(files.to_mapping(config), changes))


@pytest.mark.parametrize("name", MADE_FOR)
def test_each_preset_fits_the_machine_it_is_made_for(name: str) -> None:
    device, host = MADE_FOR[name]
    verdict = memory_check.check(presets.preset(name), Machine(device, host), per_machine=8)
    assert verdict.fits is True and verdict.sentence.endswith("it fits.")
    assert verdict.content()["fits"] is True and not verdict.remedy


@pytest.mark.parametrize(
    ("preset", "device", "host"),
    [("wan22_i2v_a14b", 80, 200), ("wan22_141gb", 48, 200), ("wan22_8x80gb", 80, 60), ("wan22_5b_24gb", 20, 32)],
)
def test_the_remedy_makes_it_fit_and_leaves_nothing_out(preset: str, device: float, host: float) -> None:
    config, there = presets.preset(preset), Machine(device, host)
    verdict = memory_check.check(config, there, per_machine=8)
    assert verdict.fits is False and verdict.remedy and verdict.remedied is not None
    assert memory_check.check(with_settings(config, dict(verdict.remedy)), there, per_machine=8).fits is True
    for name in verdict.remedy:
        assert f"--set {name}=" in verdict.sentence
    if len(verdict.remedy) > 2:
        return  # settings that only go together count as one
    for name in verdict.remedy:
        rest = {other: value for other, value in verdict.remedy.items() if other != name}
        assert memory_check.check(with_settings(config, rest), there, per_machine=8).fits is False


def test_graphs_that_were_kept_for_speed_are_given_up_first() -> None:
    config = with_settings(presets.preset("wan22_80gb"), {"sampling.keep_graphs": 4, "sampling.decode_chunk": 1})
    verdict = memory_check.check(config, Machine(80.0, 64.0))
    assert verdict.fits is False and verdict.remedy == {"sampling.keep_graphs": 0}


def test_what_no_setting_helps_is_said() -> None:
    verdict = memory_check.check(presets.preset("wan22_i2v_a14b"), Machine(16.0, 64.0))
    assert verdict.fits is False and verdict.remedy is None and "smaller model" in verdict.sentence
    larger = memory_check.check(presets.preset("wan22_i2v_a14b"), Machine(24.0, 64.0), per_machine=8)
    assert larger.remedy is None and "take Wan2.2-TI2V-5B, or a larger machine" in larger.sentence


def test_without_a_gpu_nothing_is_claimed() -> None:
    verdict = memory_check.check(presets.preset("wan22_80gb"), Machine(None, None))
    assert verdict.fits is None and "--device-memory" in verdict.sentence
    assert memory_check.check(presets.preset("wan22_80gb"), Machine(None, 4.0)).fits is False  # the host is known
    assert memory_check.check(presets.preset("pocket"), Machine(None, 8.0)).fits is True


def test_the_table_names_every_phase_and_its_largest_parts() -> None:
    verdict = memory_check.check(presets.preset("wan22_80gb"), Machine(80.0, 128.0))
    text = memory_text.lines(verdict)
    assert "81 frames of 480 x 832" in text[0]
    for phase, line in zip(verdict.plan.phases, text[2:-1], strict=True):
        assert phase.name in line and f"{phase.device_gb:.2f}" in line and f"{phase.host_gb:.2f}" in line
        assert max(phase.device, key=lambda part: part.size).what in line
    assert text[-1] == verdict.sentence


def test_the_smallest_gpu_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf '81559\\n24564\\n'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = machine.here()
    assert found.device == pytest.approx(24564 * 2**20 / 1e9) and not found.assumed
    tool.write_text("#!/bin/sh\necho 'no driver'; exit 9\n")
    assert machine.here().device is None
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    assert machine.here().host == pytest.approx(installed, rel=0.01)


def test_bytes_of_a_phase_are_those_of_its_parts() -> None:
    for phase in memory_plan.plan(presets.preset("wan22_two_nodes"), on_gpu=True, per_machine=8).phases:
        assert phase.device_gb == pytest.approx(sum(part.size for part in phase.device) / 1e9)
        assert all(part.size >= 0 for part in [*phase.device, *phase.host])
