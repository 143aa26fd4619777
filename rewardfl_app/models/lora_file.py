"""Reading a LoRA file, in whatever format it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rewardfl_app.models import lora_formats
from rewardfl_app.models.lora_formats import LoraTensors
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.models.tensor_file import open_tensors
from rewardfl_app.runs.jsonfile import read_json

PEFT_SETTINGS = "adapter_config.json"  # where PEFT keeps rank and alpha, beside the file


def read(path: Path, place: str, own: str) -> LoraTensors:
    """What is in the file, which messages call `place`; `own`: see `lora_formats.read`.

    Raises WeightsError naming the file, and the key that is wrong.
    """
    try:
        with open_tensors(path) as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.offset_keys()}
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{place} is missing, truncated or not a safetensors file ({reason})") from error
    settings = _settings(metadata, place)
    if settings is None and any(key.startswith("base_model.") for key in tensors):
        settings = read_json(path.parent / PEFT_SETTINGS)
    return lora_formats.read(tensors, place, own, settings)


def _settings(metadata: Mapping[str, str], place: str) -> dict[str, Any] | None:
    """PEFT's settings as diffusers keeps them in a file's metadata, without the network's name before each."""
    text = metadata.get(lora_formats.METADATA_KEY)
    if text is None:
        return None
    try:
        found = json.loads(text)
        return {key.removeprefix("transformer.").removeprefix("transformer_2."): value for key, value in found.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{place} has metadata that cannot be read ({lora_formats.METADATA_KEY}): copy it again"
        ) from error
