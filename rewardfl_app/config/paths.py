"""Checks of the files and folders a configuration names. Nothing is loaded; only what is cheap to see is looked at."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from rewardfl_app.config.problems import Problem
from rewardfl_app.config.schema import Config

WEIGHT_ENTRIES = ("high-noise model", "low-noise model", "text encoder", "VAE")


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
            "Wan2.2's weights are not named: give a JSON file that lists the high-noise model, the low-noise model, "
            "the text encoder and the VAE.",
        )
    if not config.reward.reward_model_path:
        yield Problem(
            "reward.reward_model_path",
            "The face pack is not named: give the folder with the ONNX files of insightface's antelopev2.",
        )
    if not config.data.metadata_path:
        yield Problem(
            "data.metadata_path",
            "The training clips are not named: give a metadata.csv with the columns video and prompt.",
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
    if len(entries) != len(WEIGHT_ENTRIES):
        yield Problem(
            "model.model_id_with_origin_paths",
            f"It has {len(entries)} entries, but four are needed, in this order: {', '.join(WEIGHT_ENTRIES)}.",
        )


def located(path: str) -> Path:
    """The path with `~` for the home folder filled in; of an unknown person's it stays as it is, and does not exist."""
    return Path(os.path.expanduser(path))


def _file(field: str, path: str | None) -> Iterator[Problem]:
    if path and not located(path).is_file():
        what = "is a folder, but a file is needed" if located(path).is_dir() else "does not exist"
        yield Problem(field, f"{path} {what}: correct the path.")


def _folder(field: str, path: str | None) -> Iterator[Problem]:
    if path and not located(path).is_dir():
        what = "is a file, but a folder is needed" if located(path).is_file() else "does not exist"
        yield Problem(field, f"{path} {what}: correct the path.")


def _weights(path: str | None) -> Iterator[Problem]:
    field = "model.model_paths"
    if not path:
        return
    if not located(path).is_file():
        yield from _file(field, path)
        return
    needed = f"a list of four entries is needed: {', '.join(WEIGHT_ENTRIES)}"
    try:
        listed = json.loads(located(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield Problem(field, f"{path} cannot be read as JSON ({error}): {needed}.")
        return
    if not isinstance(listed, list) or len(listed) != len(WEIGHT_ENTRIES):
        found = f"a list of {len(listed)}" if isinstance(listed, list) else f"a {type(listed).__name__}"
        yield Problem(field, f"{path} holds {found}, but {needed}.")
        return
    for name, entry in zip(WEIGHT_ENTRIES, listed, strict=True):
        yield from _entry(located(path), name, entry)


def _entry(listing: Path, name: str, entry: object) -> Iterator[Problem]:
    """One entry of model_paths: a file, a diffusers folder or a list of shards."""
    field = "model.model_paths"
    files = entry if isinstance(entry, list) else [entry]
    if not files or not all(isinstance(file, str) and file for file in files):
        yield Problem(field, f"The {name} in {listing} must be a path or a list of paths, but it is {entry!r}.")
        return
    missing = [file for file in files if not (listing.parent / located(str(file))).exists()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        yield Problem(
            field, f"The {name} in {listing} names {missing[0]}{more}, which does not exist: correct the path."
        )


def _face_pack(path: str | None) -> Iterator[Problem]:
    field = "reward.reward_model_path"
    if not path:
        return
    folder = located(path)
    if not folder.is_dir():
        yield from _folder(field, path)
    elif not any(folder.glob("*.onnx")):
        # Unpacking antelopev2.zip into a folder of that name leaves the files one folder deeper.
        nested = next(iter(sorted(folder.glob("*/*.onnx"))), None)
        advice = f"use {nested.parent}" if nested else "unpack the ONNX files of the face pack into it"
        yield Problem(field, f"{path} has no .onnx file in it: {advice}.")


def _judge(path: str | None) -> Iterator[Problem]:
    if path and not located(path).exists():
        yield from _file("reward.judge_model_path", path)
    elif path and located(path).is_dir() and not any(located(path).glob("*.onnx")):
        yield Problem("reward.judge_model_path", f"{path} has no .onnx file in it: name the judge's ONNX file.")


# Each check of a path with the field it reads.
FILE_RULES: list[tuple[tuple[str, ...], Callable[[Config], Iterator[Problem]]]] = [
    (("data.metadata_path",), lambda config: _file("data.metadata_path", config.data.metadata_path)),
    (("evaluation.metadata_path",), lambda config: _file("evaluation.metadata_path", config.evaluation.metadata_path)),
    (("model.model_paths",), lambda config: _weights(config.model.model_paths)),
    (("model.tokenizer_path",), lambda config: _folder("model.tokenizer_path", config.model.tokenizer_path)),
    (("reward.reward_model_path",), lambda config: _face_pack(config.reward.reward_model_path)),
    (("reward.judge_model_path",), lambda config: _judge(config.reward.judge_model_path)),
]
