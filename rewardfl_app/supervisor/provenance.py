"""What a run was made of: versions of the packages, git revision, and hashes of data and weights, for run.json."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from rewardfl_app.config.schema import Config
from rewardfl_app.config.secrets import redacted_in
from rewardfl_app.models import sources
from rewardfl_app.runs import content
from rewardfl_app.supervisor.command import PACKAGE_ROOT

PACKAGES = (
    "accelerate", "av", "deepspeed", "diffusers", "gradio", "insightface", "numpy", "onnx", "onnxruntime",
    "onnxruntime-gpu", "peft", "pillow", "pydantic", "rewardfl-app", "safetensors", "tokenizers", "torch",
    "transformers",
)  # fmt: skip
_WEIGHT_SUFFIXES = frozenset({".safetensors", ".onnx", ".bin", ".pth", ".pt", ".gguf", ".json", ".model"})
_GIT_SECONDS = 5.0


def describe(config: Config) -> dict[str, Any]:
    """{versions, git, data, weights} of a complete configuration (absolute paths)."""
    tables = {"data": config.data.metadata_path, "evaluation": config.evaluation.metadata_path}
    described: dict[str, Any] = redacted_in(
        {
            "versions": versions(),
            "git": git_revision(PACKAGE_ROOT),
            "data": {name: fingerprint(Path(path)) for name, path in tables.items() if path},
            "weights": [fingerprint(path) for path in weight_files(config)],
            "origin": config.model.model_id_with_origin_paths,
        }
    )
    return described


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter, those that are installed; imports none of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision(folder: Path) -> dict[str, Any] | None:
    """{revision, changed: whether files differ from it} of the repository whose top is `folder`; None where there is
    none.
    """
    if not (folder / ".git").exists():
        return None
    try:
        revision = _git(folder, "rev-parse", "HEAD").strip()
        changed = bool(_git(folder, "status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "changed": changed}


def weight_files(config: Config) -> list[Path]:
    """Every file of weights that the configuration names, sorted, without duplicates; missing ones are left out.

    Raises WeightsError.
    """
    roots = [Path(path) for path in (config.reward.reward_model_path, config.reward.judge_model_path) if path]
    roots += [Path(path) for path in (config.model.high_noise_lora, config.model.low_noise_lora) if path]
    if config.model.tokenizer_path:
        roots.append(Path(config.model.tokenizer_path))
    if config.model.model_paths or config.model.model_id_with_origin_paths:
        found_sources = sources.resolve(config.model)
        for part in found_sources.networks:
            roots += [*part.files, *([part.config] if part.config else [])]
    found: set[Path] = set()
    for root in roots:
        if root.is_file():
            found.add(root)
        elif root.is_dir():
            found.update(path for path in root.rglob("*") if path.suffix in _WEIGHT_SUFFIXES and path.is_file())
    return sorted(found)


def fingerprint(path: Path) -> dict[str, Any]:
    """{path, bytes, sha256} of a file; for a large one {path, bytes, modified} with Unix time."""
    state = path.stat()
    if state.st_size >= content.WHOLE_BELOW_BYTES:  # hashing 14 billion parameters would take minutes
        return {"path": str(path), "bytes": state.st_size, "modified": state.st_mtime}
    return {"path": str(path), "bytes": state.st_size, "sha256": content.file_digest(path)}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_GIT_SECONDS).stdout
