"""What a checkpoint trained, taken away: a LoRA for diffusers or ComfyUI, or the whole weights of each trained expert.

A LoRA file holds what was trained and nothing else, also where the base model has a LoRA of its own; whole weights hold
both. With a running mean (train.ema_decay) it is the mean, which is what was evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from rewardfl_app.config import schedule
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import DIFFUSERS_NAME
from rewardfl_app.inference import model_card
from rewardfl_app.inference.export_target import CARD, FACTS, SUFFIX, Format, Target
from rewardfl_app.inference.scoring_request import Status
from rewardfl_app.models import lora_file, lora_formats, merged_expert, wan_names
from rewardfl_app.models.adaptation import checkpoint_file
from rewardfl_app.models.lora_formats import METADATA_KEY
from rewardfl_app.models.merged_expert import MergedExpert
from rewardfl_app.models.tensor_file import open_tensors, write_tensors
from rewardfl_app.runs import checkpoints, settings
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert

_SHARD_BYTES = 5 * 10**9
_SHARDS = "diffusion_pytorch_model"
_RELEASED = {"high_noise": "high_noise_model", "low_noise": "low_noise_model"}  # folders of Wan-AI's repository
_SPARE_BYTES = 2**24  # headers, index, card
_WANTED = ("run", "checkpoint", "format", "out")

Facts = dict[str, Any]
Advance = Callable[[], None]


@dataclass(frozen=True)
class ExportRequest:
    """What is exported to where. `licences`: the notes that go along; `status`: the file that tells how far it is."""

    run: RunFolder
    checkpoint: str
    format: Format
    target: Target
    licences: tuple[str, ...]
    status: Path | None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ExportRequest:
        """The request in a JSON object {run, checkpoint, format, out, force, licences, status}. Raises ConfigError."""
        problems = [Problem(name, f"The request does not name {name}.") for name in _WANTED if not content.get(name)]
        unknown = sorted(set(content) - {*_WANTED, "force", "licences", "status"})
        problems += [Problem(name, f"There is no {name} in an export request.") for name in unknown]
        if not problems and content["format"] not in list(Format):
            problems.append(Problem("format", f"{content['format']} is none of {', '.join(Format)}."))
        if problems:
            raise ConfigError(problems)
        return cls(
            run=RunFolder(Path(content["run"])),
            checkpoint=str(content["checkpoint"]),
            format=Format(content["format"]),
            target=Target(Path(content["out"]), bool(content.get("force"))),
            licences=tuple(str(licence) for licence in content.get("licences") or ()),
            status=Path(content["status"]) if content.get("status") else None,
        )


def export(request: ExportRequest) -> None:
    """Writes what was asked for. Raises ConfigError, CheckpointError, WeightsError and ExportError."""
    config = settings.load(request.run, check_files=False)
    request.target.check(config, request.format)
    checkpoint = checkpoints.find(request.run, request.checkpoint)
    experts = schedule.trained_experts(config)
    about = {
        expert: model_card.facts(request.run, config, checkpoint, expert, request.format, request.licences)
        for expert in experts
    }
    trained = {expert: checkpoint_file(checkpoint.path, expert) for expert in experts}
    if request.format.is_lora:
        _export_loras(request, trained, about, config)
    else:
        _export_weights(request, trained, about, config)


def _export_loras(
    request: ExportRequest, trained: Mapping[Expert, Path], about: Mapping[Expert, Facts], config: Config
) -> None:
    target = request.target
    target.check_room(sum(path.stat().st_size for path in trained.values() if path.is_file()) + _SPARE_BYTES)
    comfyui = request.format == Format.COMFYUI
    names = {expert: target.path.name if target.is_file else _lora_name(expert, comfyui) for expert in trained}
    with target.unfinished() as folder:
        for expert, path in trained.items():
            lora = lora_file.read(path, f"LoRA: {path}", f"{DIFFUSERS_NAME[expert]}.")
            metadata = model_card.metadata(about[expert])
            if comfyui:
                tensors = lora_formats.to_comfyui(lora.layers)
            else:
                tensors = lora_formats.to_diffusers(lora.layers)
                with open_tensors(path) as opened:
                    saved = opened.metadata() or {}
                metadata |= {METADATA_KEY: saved[METADATA_KEY]} if METADATA_KEY in saved else {}
            write_tensors(folder / names[expert], tensors, tensors.__getitem__, metadata)
        _describe(folder, target, list(about.values()), config, list(names.values()))


def _export_weights(
    request: ExportRequest, trained: Mapping[Expert, Path], about: Mapping[Expert, Facts], config: Config
) -> None:
    target = request.target
    status = Status(request.status) if request.status else None
    experts = {expert: MergedExpert(config, expert, path) for expert, path in trained.items()}
    target.check_room(sum(merged.num_bytes for merged in experts.values()) + _SPARE_BYTES)
    if status:
        status.start(sum(len(merged.parameters) for merged in experts.values()), "Writing the weights")
    original = request.format == Format.MERGED_ORIGINAL
    folders = _RELEASED if original else DIFFUSERS_NAME
    names = {expert: folders[expert] if len(experts) > 1 else "" for expert in experts}
    with target.unfinished() as folder:
        for expert, merged in experts.items():
            writer = _Writer(merged, original, model_card.metadata(about[expert]), status)
            if target.is_file:
                writer.write_file(folder / target.path.name)
            else:
                writer.write_folder(folder / names[expert])
        _describe(folder, target, list(about.values()), config, list(names.values()))
    if status:
        status.done("Written")


class _Writer:
    """Writes an expert tensor by tensor: never more than one of them is in memory."""

    def __init__(self, merged: MergedExpert, original: bool, metadata: dict[str, str], status: Status | None) -> None:
        self._merged = merged
        self._original = original
        self._metadata = metadata
        self._status = status
        self._sources = {wan_names.to_wan(name) if original else name: name for name in merged.parameters}

    def write_file(self, path: Path) -> None:
        """All of it in one file."""
        self._write(path, list(self._sources))

    def write_folder(self, folder: Path) -> None:
        """config.json and the shards with their index, as `from_pretrained` and Wan's own code read them."""
        folder.mkdir(exist_ok=True)
        if self._original:
            write_json_atomic(folder / "config.json", merged_expert.released_config(self._merged))
        else:
            self._merged.network.save_config(folder)
        shards = self._shards()
        if len(shards) == 1:
            self.write_file(folder / f"{_SHARDS}{SUFFIX}")
            return
        weight_map: dict[str, str] = {}
        for number, keys in enumerate(shards, start=1):
            path = folder / f"{_SHARDS}-{number:05d}-of-{len(shards):05d}{SUFFIX}"
            self._write(path, keys)
            weight_map |= dict.fromkeys(keys, path.name)
        index = {"metadata": {"total_size": self._merged.num_bytes}, "weight_map": weight_map}
        write_json_atomic(folder / f"{_SHARDS}{SUFFIX}.index.json", index)

    def _shards(self) -> list[list[str]]:
        """The keys of each file, block after block."""
        shards: list[list[str]] = [[]]
        size = 0
        for key in sorted(self._sources, key=_in_order):
            num_bytes = self._merged.parameters[self._sources[key]].nbytes
            if shards[-1] and size + num_bytes > _SHARD_BYTES:
                shards.append([])
                size = 0
            shards[-1].append(key)
            size += num_bytes
        return shards

    def _write(self, path: Path, keys: list[str]) -> None:
        wanted = {key: self._merged.parameters[self._sources[key]] for key in keys}
        write_tensors(path, wanted, self._tensor, self._metadata)

    def _tensor(self, key: str) -> Tensor:
        tensor = self._merged.tensor(self._sources[key])
        if self._status:
            self._status.advance(1, "Writing the weights")
        return tensor


def _describe(folder: Path, target: Target, about: list[Facts], config: Config, files: list[str]) -> None:
    if target.is_file:
        write_json_atomic(folder / target.facts.name, about[0])
        return
    write_json_atomic(folder / FACTS, {"files": {name or ".": each for name, each in zip(files, about, strict=True)}})
    (folder / CARD).write_text(model_card.card(about, config, files), encoding="utf-8")


def _lora_name(expert: Expert, comfyui: bool) -> str:
    return f"{expert if comfyui else DIFFUSERS_NAME[expert]}{SUFFIX}"


def _in_order(key: str) -> list[tuple[bool, int, str]]:
    """Sorts blocks.2 before blocks.10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"\.", key)]
