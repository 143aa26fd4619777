"""Where ONNX Runtime can compute on this machine, and why it does not use the GPU when it does not.

`onnxruntime` and `onnxruntime-gpu` install their files into the same place: whichever came last is what runs, and pip
still lists both. insightface asks for `onnxruntime`, so the GPU build is overwritten unnoticed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

# Best first. TensorRT would build an engine for minutes at the first frame, so it is not taken unasked.
_PREFERRED = (
    CUDA, "ROCMExecutionProvider", "MIGraphXExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider", CPU,
)  # fmt: skip


@dataclass(frozen=True)
class Installation:
    """What decides where ONNX Runtime computes.

    `providers` are those of the files that are in place; `gpu_version` and `cpu_version` the installed distributions
    onnxruntime-gpu and onnxruntime as pip lists them (None: not installed).
    """

    providers: tuple[str, ...]
    gpu_version: str | None
    cpu_version: str | None
    has_nvidia_gpu: bool

    @classmethod
    def here(cls) -> Installation:
        """This machine and this environment."""
        import onnxruntime

        return cls(
            tuple(onnxruntime.get_available_providers()),
            _version("onnxruntime-gpu"),
            _version("onnxruntime"),
            _has_nvidia_gpu(),
        )


def best_providers(available: Sequence[str] | None = None) -> list[str]:
    """The providers to run a session with, best first and the CPU last (by default of those that are installed)."""
    if available is None:
        import onnxruntime

        available = onnxruntime.get_available_providers()
    return [name for name in _PREFERRED if name in available] or [CPU]


def shadow_warning(installation: Installation | None = None) -> str | None:
    """One sentence, with the command that mends it, where ONNX Runtime leaves an NVIDIA GPU idle; else None."""
    found = Installation.here() if installation is None else installation
    if not found.has_nvidia_gpu or CUDA in found.providers:
        return None
    if found.gpu_version is not None:
        cause = (
            "the files of onnxruntime lie over those of onnxruntime-gpu"
            if found.cpu_version is not None
            else "the files of onnxruntime-gpu are damaged"
        )
        return f"ONNX Runtime does not see the NVIDIA GPU: {cause}; to mend it: {_command(found.gpu_version)}"
    if found.cpu_version is not None:
        return (
            "ONNX Runtime does not see the NVIDIA GPU: only onnxruntime is installed; to put the GPU build over it: "
            + _command(found.cpu_version)
        )
    return None


def fallback_warning(wanted: Sequence[str], running: Sequence[str], gpu_version: str | None = None) -> str | None:
    """One sentence where a session that was asked for `wanted` runs without the best of them.

    ONNX Runtime says nothing when a provider does not start, a session's `get_providers()` is the only sign of it.
    """
    if not wanted or wanted[0] in running:
        return None
    instead = running[0] if running else "nothing"
    sentence = f"ONNX Runtime could not start {wanted[0]} and runs on {instead} instead"
    if wanted[0] != CUDA:
        return sentence
    version = gpu_version or _version("onnxruntime-gpu")
    build = f"onnxruntime-gpu[cuda,cudnn]=={version}" if version else "onnxruntime-gpu[cuda,cudnn]"
    return f'{sentence}: CUDA or cuDNN of its version is not there; to get them: pip install "{build}"'


def _command(version: str) -> str:
    return f"pip install --force-reinstall --no-deps onnxruntime-gpu=={version}"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _has_nvidia_gpu() -> bool:
    """A GPU that the driver shows and the user did not hide; asks no library, since torch may be a CPU build."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    gpus = Path("/proc/driver/nvidia/gpus")
    if gpus.is_dir():
        return any(gpus.iterdir())
    behind_windows = os.name == "nt" or Path("/dev/dxg").exists()  # the latter is Windows' Linux
    return Path("/dev/nvidia0").exists() or (behind_windows and shutil.which("nvidia-smi") is not None)
