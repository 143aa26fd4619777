"""Checks of the files and folders a configuration names. Nothing is loaded; only what is cheap to see is looked at."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from rewardfl_app.config import family, obtaining
from rewardfl_app.config.family import Family
from rewardfl_app.config.plain_file import read_plain
from rewardfl_app.config.problems import Problem
from rewardfl_app.config.schema import Config

WEIGHT_SUFFIXES = frozenset({".safetensors", ".pth", ".pt", ".bin", ".gguf"})
_LARGEST_LIST = 2**20  # bytes of a list of weight files


def missing_names(config: Config) -> Iterator[Problem]:
    """Paths that the model family needs and that are not given; `pocket` has files of its own for all of them."""
    model = config.model
    if model.model_paths and model.model_id_with_origin_paths:
        yield Problem(
            "model.model_id_with_origin_paths",
            "The weights are named twice: give model_paths or model_id_with_origin_paths, not both.",
        )
    if model.model_name == "pocket":
        return
    if not model.model_paths and not model.model_id_with_origin_paths:
        yield Problem(
            "model.model_paths",
            f"The weights of {family.of(model).title} are not named. {obtaining.weights(family.of(model))}",
        )
    if not config.reward.reward_model_path:
        yield Problem(
            "reward.reward_model_path",
            f"The face pack is not named. {obtaining.FACE_PACK}",
        )
    if not config.data.metadata_path:
        yield Problem(
            "data.metadata_path",
            f"The training clips are not named. {obtaining.CLIPS}",
        )


def hub_entries(config: Config) -> Iterator[Problem]:
    """The form of model_id_with_origin_paths; whether the files are in the cache is seen when they are loaded."""
    text = config.model.model_id_with_origin_paths
    if not text:
        return
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    for entry in entries:
        if "/" not in entry.partition(":")[0]:
            yield Problem(
                "model.model_id_with_origin_paths",
                f"{entry!r} is not of the form owner/model:file pattern; write it so.",
            )
    kind = family.of(config.model)
    if len(entries) != len(kind.networks):
        yield Problem(
            "model.model_id_with_origin_paths",
            f"It has {len(entries)} entries, but {len(kind.networks)} are needed, in this order: "
            f"{family.listed(kind)}.",
        )


def located(path: str) -> Path:
    """The path with `~` for the home folder filled in; of an unknown person's it stays as it is, and does not exist."""
    return Path(os.path.expanduser(path))


def _file(field: str, path: str | None, get: str = "") -> Iterator[Problem]:
    """`get`: where the file is to be had."""
    if path and not os.path.isfile(located(path)):
        what = "is a folder, but a file is needed" if os.path.isdir(located(path)) else "does not exist"
        yield Problem(field, f"{path} {what}: correct the path.{get and f' {get}'}")


def _folder(field: str, path: str | None, get: str = "") -> Iterator[Problem]:
    if path and not os.path.isdir(located(path)):
        what = "is a file, but a folder is needed" if os.path.isfile(located(path)) else "does not exist"
        yield Problem(field, f"{path} {what}: correct the path.{get and f' {get}'}")


def named_entries(listed: object, kind: Family) -> list[object] | str:
    """The entries of a list of weight files in the family's order, or what is wrong with it as the end of a sentence.

    It is a list in that order, or a mapping by name.
    """
    names = kind.networks
    if isinstance(listed, list):
        return listed if len(listed) == len(names) else f"holds a list of {len(listed)}"
    if not isinstance(listed, dict):
        return f"holds a {type(listed).__name__}"
    if any(name not in names for name in listed):
        return "has another name"  # which is not told: see _entry
    missing = [name for name in names if name not in listed]
    return f"has no {missing[0]}" if missing else [listed[name] for name in names]


def _weights(path: str | None, kind: Family) -> Iterator[Problem]:
    field = "model.model_paths"
    if not path:
        return
    if not os.path.isfile(located(path)):
        yield from _file(field, path, obtaining.weights(kind) if kind.repository else "")
        return
    needed = f"{kind.title} needs {len(kind.networks)} entries, by name or in this order: {', '.join(kind.networks)}"
    try:
        listed = json.loads(read_plain(located(path), _LARGEST_LIST).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        yield Problem(field, f"{path} cannot be read as JSON ({error}): {needed}.")
        return
    entries = named_entries(listed, kind)
    if isinstance(entries, str):
        yield Problem(field, f"{path} {entries}, but {needed}.")
        return
    for name, entry in zip(kind.networks, entries, strict=True):
        yield from _entry(located(path), family.WORDS[name], entry)


def _entry(listing: Path, name: str, entry: object) -> Iterator[Problem]:
    """One entry of model_paths: a file, a diffusers folder or a list of shards.

    The listing may be another file, with a secret in it: of what it holds only the names of weight files are told.
    """
    field = "model.model_paths"
    files = entry if isinstance(entry, list) else [entry]
    if not files or not all(isinstance(file, str) and file for file in files):
        yield Problem(field, f"The {name} in {listing} must be a path or a list of paths.")
        return
    missing = [file for file in files if not os.path.exists(listing.parent / located(str(file)))]
    if missing:
        first = str(missing[0])
        told = first if Path(first).suffix in WEIGHT_SUFFIXES else "a file or folder"
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        yield Problem(field, f"The {name} in {listing} names {told}{more}, which does not exist: correct the path.")


def _lora(field: str, path: str | None) -> Iterator[Problem]:
    if path and os.path.isfile(located(path)) and located(path).suffix != ".safetensors":
        yield Problem(field, f"{path} is no .safetensors file: name the LoRA's own.")
    else:
        yield from _file(field, path, obtaining.LIGHTNING)


def _face_pack(path: str | None) -> Iterator[Problem]:
    field = "reward.reward_model_path"
    if not path:
        return
    folder = located(path)
    if not os.path.isdir(folder):
        yield from _folder(field, path, obtaining.FACE_PACK)
    elif not any(folder.glob("*.onnx")):
        # Unpacking antelopev2.zip into a folder of that name leaves the files one folder deeper.
        nested = next(iter(sorted(folder.glob("*/*.onnx"))), None)
        advice = f"use {nested.parent}" if nested else "unpack the ONNX files of the face pack into it"
        yield Problem(field, f"{path} has no .onnx file in it: {advice}.")


def _tokenizer(path: str) -> Iterator[Problem]:
    yield from _folder("model.tokenizer_path", path, obtaining.TOKENIZER)


def _judge(path: str | None) -> Iterator[Problem]:
    if path and not os.path.exists(located(path)):
        yield from _file("reward.judge_model_path", path)
    elif path and os.path.isdir(located(path)) and not any(located(path).glob("*.onnx")):
        yield Problem("reward.judge_model_path", f"{path} has no .onnx file in it: name the judge's ONNX file.")


# Each check of a path with the field it reads.
FILE_RULES: list[tuple[tuple[str, ...], Callable[[Config], Iterator[Problem]]]] = [
    (("data.metadata_path",), lambda config: _file("data.metadata_path", config.data.metadata_path)),
    (("evaluation.metadata_path",), lambda config: _file("evaluation.metadata_path", config.evaluation.metadata_path)),
    (
        ("model.model_paths", "model.model_name"),
        lambda config: _weights(config.model.model_paths, family.of(config.model)),
    ),
    (("model.high_noise_lora",), lambda config: _lora("model.high_noise_lora", config.model.high_noise_lora)),
    (("model.low_noise_lora",), lambda config: _lora("model.low_noise_lora", config.model.low_noise_lora)),
    (("model.tokenizer_path",), lambda config: _tokenizer(config.model.tokenizer_path)),
    (("reward.reward_model_path",), lambda config: _face_pack(config.reward.reward_model_path)),
    (("reward.judge_model_path",), lambda config: _judge(config.reward.judge_model_path)),
]
