"""What can be seen to be wrong before a run starts: settings, weight files, data and GPUs, all at once and without
loading a weight.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from rewardfl_app.config import devices, validation
from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import Config, DeepSpeedConfig
from rewardfl_app.data import manifest
from rewardfl_app.models import sources
from rewardfl_app.runs.jsontext import parse
from rewardfl_app.supervisor import freeze, hostfile

_LARGEST_HEADER_BYTES = 100 * 2**20  # the safetensors format's own limit


def problems(config: Config) -> list[Problem]:
    """Every problem of the settings, and of the files they name: weights cut short, columns and rows of the data; [] if
    none.
    """
    found = validation.problems(config)
    return found + file_problems(config, {problem.field for problem in found})


def examined(mapping: Mapping[str, Any]) -> tuple[Config | None, list[Problem]]:
    """The configuration in a nested mapping, None where some of it is no value at all, and every problem of it and of
    the files it names.
    """
    try:
        config, found = validation.examined(mapping)
    except ConfigError as error:
        return None, error.problems
    if config is not None:
        whole = freeze.with_embedded_scorers(freeze.absolute_paths(config))
        found += file_problems(whole, {problem.field for problem in found})
    return config, found


def file_problems(config: Config, faulty: AbstractSet[str]) -> list[Problem]:
    """Problems of the files and devices alone; what the fields `faulty` name or decide on is not looked at."""
    found: list[Problem] = []
    if not faulty & {"model.model_paths", "model.model_id_with_origin_paths", "model.tokenizer_path"}:
        found += weight_problems(config)
    for field, file in lora_files(config).items():
        if field not in faulty:
            found += [Problem(field, f"{file} {flaw}: copy or download it again.") for flaw in _flaw(file)]
    if config.deepspeed.hostfile and "deepspeed.hostfile" not in faulty:
        found += host_problems(config.deepspeed)
    found += gpu_problems(config.deepspeed)
    tables = {
        "data.metadata_path": (config.data.metadata_path, None),
        "evaluation.metadata_path": (config.evaluation.metadata_path, config.evaluation.num_samples),
    }
    for field, (path, num_rows) in tables.items():
        if path and not faulty & {field, "data.num_frames"}:
            found += table_problems(field, Path(path), config.data.num_frames, num_rows)
    return found


def host_problems(settings: DeepSpeedConfig) -> list[Problem]:
    """A hostfile that the launcher would refuse, or whose slots are not the processes of the configuration."""
    try:
        hosts = hostfile.read(Path(settings.hostfile or ""))
    except hostfile.HostfileError as error:
        return [Problem("deepspeed.hostfile", str(error))]
    slots = sum(hosts.values())
    if slots == settings.num_processes:
        return []
    message = (
        f"num_processes is {settings.num_processes}, but the slots in {settings.hostfile} add up to {slots}: set "
        f"num_processes to {slots} (and train_batch_size to match), or change the slots."
    )
    return [Problem("deepspeed.num_processes", message)]


def gpu_problems(settings: DeepSpeedConfig) -> list[Problem]:
    """More processes than this machine has GPUs; a machine without any trains on its processors."""
    number = len(devices.visible_gpus())
    if settings.hostfile or settings.devices or not 0 < number < settings.num_processes:
        return []
    message = (
        f"num_processes is {settings.num_processes}, but there {'is' if number == 1 else 'are'} {number} "
        f"GPU{'s' * (number > 1)} here: set it to {number}, and per_device_train_batch_size or "
        "gradient_accumulation_steps to what keeps train_batch_size."
    )
    return [Problem("deepspeed.num_processes", message)]


def weight_problems(config: Config) -> list[Problem]:
    """Weight files that are missing, or shorter than their own header says; [] for the embedded models."""
    if freeze.uses_embedded_models(config):
        return []
    field = "model.model_paths" if config.model.model_paths else "model.model_id_with_origin_paths"
    try:
        found = sources.resolve(config.model)
    except sources.WeightsError as error:
        return [Problem(field, str(error))]
    files = dict.fromkeys(file for part in found.networks for file in part.files if file.suffix == ".safetensors")
    return [Problem(field, f"{file} {flaw}: copy or download it again.") for file in files for flaw in _flaw(file)]


def lora_files(config: Config) -> dict[str, Path]:
    """The LoRA files of the base model, by field."""
    named = {"high_noise_lora": config.model.high_noise_lora, "low_noise_lora": config.model.low_noise_lora}
    return {f"model.{name}": Path(path) for name, path in named.items() if path}


def table_problems(field: str, metadata_path: Path, num_frames: int, num_rows: int | None = None) -> list[Problem]:
    """Problems of a metadata.csv and of the files in its first num_rows rows (None: all), each row by its number."""
    try:
        rows = manifest.read(metadata_path)[:num_rows]
    except manifest.ManifestError as error:
        return [_row_problem(field, metadata_path, problem) for problem in error.problems]
    except manifest.DataError as error:
        return [Problem(field, str(error))]
    return [_row_problem(field, metadata_path, problem) for problem in manifest.row_problems(rows, num_frames)]


def _row_problem(field: str, metadata_path: Path, problem: manifest.RowProblem) -> Problem:
    return Problem(field, f"{metadata_path}: row {problem.row}: {problem.message}")


def _flaw(file: Path) -> Iterator[str]:
    """What is wrong with a safetensors file as its header tells: 8 bytes of length, JSON with offsets, then the
    tensors.
    """
    try:
        with open_plain(file) as opened:
            start = opened.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            header = parse(opened.read(length)) if 0 < length <= _LARGEST_HEADER_BYTES else None
        size = file.stat().st_size
        if not isinstance(header, dict):
            yield "is not a safetensors file"
            return
        ends = (int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__")
        expected = 8 + length + max(ends, default=0)
    except OSError as error:
        yield f"cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, IndexError):
        yield "is truncated or not a safetensors file"
    else:
        if size < expected:
            yield f"is truncated: it has {size} bytes of {expected}"
