"""Where each network's weight files are: a JSON list of paths, or entries looked up in the Hugging Face cache."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardfl_app.config import family, paths
from rewardfl_app.config.plain_file import read_plain

if TYPE_CHECKING:
    from rewardfl_app.config.schema import ModelConfig

_LARGEST_LIST = 2**26  # bytes of an index or a list of files
DEFAULT_TOKENIZER = "google/umt5-xxl"


class WeightsError(Exception):
    """Weights that are missing, truncated or of another model; the message names the file and, where known, the key."""


@dataclass(frozen=True)
class Source:
    """The weight files of one network, in reading order; `config` is a config.json beside them, if there is one."""

    network: str
    files: tuple[Path, ...]
    config: Path | None

    @property
    def place(self) -> str:
        """The file, or the folder of the shards, for error messages."""
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)


@dataclass(frozen=True)
class ModelSources:
    """Where everything a WanImageToVideoPipeline consists of is found; the tokenizer is a folder or a hub name.

    `low_noise` is None where one transformer, `high_noise`, covers all noise levels.
    """

    high_noise: Source
    low_noise: Source | None
    text_encoder: Source
    vae: Source
    tokenizer: str

    @property
    def networks(self) -> list[Source]:
        """Those that have weight files."""
        return [each for each in (self.high_noise, self.low_noise, self.text_encoder, self.vae) if each is not None]


def resolve(model: ModelConfig) -> ModelSources:
    """The sources named by a configuration. Raises WeightsError naming the file or entry that is not there."""
    names = family.of(model).networks
    if model.model_paths:
        entries = _from_json(Path(model.model_paths), model)
    elif model.model_id_with_origin_paths:
        entries = _from_hub_cache(model.model_id_with_origin_paths, names)
    else:
        raise WeightsError(f"model.model_paths is empty: name a JSON file with the entries {', '.join(names)}")
    found = {network: source(network, files) for network, files in zip(names, entries, strict=True)}
    return ModelSources(
        high_noise=found["high_noise_model"] if "high_noise_model" in found else found["dit"],
        low_noise=found.get("low_noise_model"),
        text_encoder=found["text_encoder"],
        vae=found["vae"],
        tokenizer=model.tokenizer_path or DEFAULT_TOKENIZER,
    )


def source(network: str, paths: list[Path]) -> Source:
    """The weight files behind one entry: a diffusers folder, a file, or the shards of one network."""
    if not paths:
        raise WeightsError(f"{network}: no file is named")
    files: list[Path] = []
    for path in paths:
        if not os.path.exists(path):
            raise WeightsError(f"{network}: {path} does not exist")
        files.extend(_folder_files(network, path) if os.path.isdir(path) else [path])
    if unusable := next((file for file in files if not os.path.isfile(file)), None):
        raise WeightsError(f"{network}: {unusable} is no file: name a .safetensors or .pth file")
    config = files[0].parent / "config.json"
    return Source(network, tuple(files), config if os.path.isfile(config) else None)


def _folder_files(network: str, folder: Path) -> list[Path]:
    index = sorted(folder.glob("*.safetensors.index.json"))
    if index:
        try:
            names = _shards(index[0])
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise WeightsError(f"{network}: {index[0]} is not an index of safetensors shards") from error
        missing = [name for name in names if not os.path.isfile(folder / name)]
        if missing:
            raise WeightsError(f"{network}: {folder / missing[0]} is missing, {index[0].name} names it")
        return [folder / name for name in names]
    for name in ("diffusion_pytorch_model.safetensors", "model.safetensors"):
        if os.path.isfile(folder / name):
            return [folder / name]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{network}: {folder} has no .safetensors file")
    return files


def _shards(index: Path) -> list[str]:
    """The files that an index names, each a name in its own folder. Raises OSError, ValueError, KeyError, TypeError."""
    names = set(json.loads(read_plain(index, _LARGEST_LIST).decode("utf-8"))["weight_map"].values())
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ValueError("it names something else than files beside it")
    return sorted(names)


def _from_json(path: Path, model: ModelConfig) -> list[list[Path]]:
    kind = family.of(model)
    try:
        listed = json.loads(read_plain(path, _LARGEST_LIST).decode("utf-8"))
    except OSError as error:
        raise WeightsError(f"model.model_paths: {path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"model.model_paths: {path} is not JSON ({error})") from error
    found = paths.named_entries(listed, kind)
    if isinstance(found, str):
        raise WeightsError(
            f"model.model_paths: {path} {found}; {kind.title} needs the entries {', '.join(kind.networks)}, by name or "
            "as a list in this order"
        )
    entries = []
    for network, entry in zip(kind.networks, found, strict=True):
        listing = entry if isinstance(entry, list) else [entry]
        names = [name for name in listing if isinstance(name, str)]
        if len(names) != len(listing):
            raise WeightsError(f"model.model_paths: the entry {network} of {path} must be a path or a list of paths")
        entries.append([path.parent / name for name in names])
    return entries


def _from_hub_cache(text: str, networks: tuple[str, ...]) -> list[list[Path]]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(names) != len(networks):
        raise WeightsError(
            f"model.model_id_with_origin_paths: {len(names)} entries, but {len(networks)} are needed: "
            + ", ".join(networks)
        )
    entries = []
    for name in names:
        repo, _, pattern = name.partition(":")
        try:
            root = Path(snapshot_download(repo, allow_patterns=[pattern or "*"], local_files_only=True))
        except (LocalEntryNotFoundError, ValueError) as error:
            raise WeightsError(
                f"model.model_id_with_origin_paths: {repo} is not in the Hugging Face cache; download it first"
            ) from error
        files = sorted(path for path in root.glob(pattern) if path.exists()) if pattern else [root]
        if not files:
            raise WeightsError(
                f"model.model_id_with_origin_paths: no file of {repo} in the Hugging Face cache matches {pattern}"
            )
        entries.append(files)
    return entries
