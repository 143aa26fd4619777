"""The provider that ONNX Runtime gets, and the sentence that says why it is not the GPU."""

from __future__ import annotations

import re
from dataclasses import replace

import onnxruntime
import pytest

from rewardfl_app.rewards import execution_providers
from rewardfl_app.rewards.execution_providers import (
    CPU,
    CUDA,
    Installation,
    best_providers,
    fallback_warning,
    shadow_warning,
)

CPU_BUILD = ("AzureExecutionProvider", CPU)
GPU_BUILD = ("TensorrtExecutionProvider", CUDA, CPU)
SHADOWED = Installation(CPU_BUILD, gpu_version="1.31.1", cpu_version="1.31.0", has_nvidia_gpu=True)


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (GPU_BUILD, [CUDA, CPU]),
        (CPU_BUILD, [CPU]),
        ((CPU, "DmlExecutionProvider"), ["DmlExecutionProvider", CPU]),
        (("CoreMLExecutionProvider", "AzureExecutionProvider", CPU), ["CoreMLExecutionProvider", CPU]),
        (
            ("MIGraphXExecutionProvider", "ROCMExecutionProvider", CPU),
            ["ROCMExecutionProvider", "MIGraphXExecutionProvider", CPU],
        ),
        ((), [CPU]),
    ],
)
def test_best_provider_comes_first_and_the_cpu_last(available: tuple[str, ...], expected: list[str]) -> None:
    assert best_providers(available) == expected


def test_the_providers_of_this_machine_run_a_session() -> None:
    assert set(best_providers()) <= set(onnxruntime.get_available_providers())


def test_a_shadowed_gpu_build_is_named_with_the_one_command_that_mends_it() -> None:
    warning = shadow_warning(SHADOWED)
    assert warning is not None and "onnxruntime lie over those of onnxruntime-gpu" in warning
    assert warning.endswith("pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1")
    assert warning.count("pip ") == 1 and "\n" not in warning


def test_a_machine_with_only_the_cpu_build_is_told_how_to_get_the_gpu_build() -> None:
    warning = shadow_warning(replace(SHADOWED, gpu_version=None))
    assert warning is not None and "only onnxruntime is installed" in warning
    assert warning.endswith("onnxruntime-gpu==1.31.0")


def test_a_gpu_build_alone_without_cuda_is_damaged() -> None:
    assert "damaged" in (shadow_warning(replace(SHADOWED, cpu_version=None)) or "")


@pytest.mark.parametrize(
    "fine",
    [
        replace(SHADOWED, providers=GPU_BUILD),
        replace(SHADOWED, has_nvidia_gpu=False),
        replace(SHADOWED, gpu_version=None, cpu_version=None),  # a build of the user's own
    ],
)
def test_nothing_is_said_where_all_is_well_or_nothing_is_known(fine: Installation) -> None:
    assert shadow_warning(fine) is None


def test_a_provider_that_did_not_start_is_named() -> None:
    warning = fallback_warning([CUDA, CPU], [CPU], gpu_version="1.31.1")
    assert warning is not None and f"could not start {CUDA} and runs on {CPU}" in warning
    assert 'pip install "onnxruntime-gpu[cuda,cudnn]==1.31.1"' in warning
    other = fallback_warning(["DmlExecutionProvider", CPU], [CPU])
    assert other is not None and "DmlExecutionProvider" in other and "pip" not in other
    assert fallback_warning([CUDA, CPU], [CUDA, CPU]) is None and fallback_warning([CPU], [CPU]) is None


def test_a_hidden_gpu_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not Installation.here().has_nvidia_gpu


def test_what_is_installed_here_is_read() -> None:
    found = Installation.here()
    assert found.providers == tuple(onnxruntime.get_available_providers())
    assert any(version and re.match(r"\d+\.\d+", version) for version in (found.cpu_version, found.gpu_version))
    assert execution_providers._version("no-such-distribution") is None
