"""What goes along with exported weights: of what they were made, how they are used, and on whose terms."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rewardfl_app
from rewardfl_app.config import family, schedule
from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.config.schema import DIFFUSERS_NAME, FACE_SIMILARITY
from rewardfl_app.inference.export_target import ExportError, Format
from rewardfl_app.models import frozen_lora
from rewardfl_app.models.merged_expert import source_of
from rewardfl_app.models.sources import resolve
from rewardfl_app.runs import content
from rewardfl_app.runs.jsonfile import read_json

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert
    from rewardfl_app.runs.checkpoints import Checkpoint
    from rewardfl_app.runs.folder import RunFolder

METADATA_KEY = "rewardfl"  # in the header of every exported file
_END_BYTES = 2**20
_HUB_NAMES = {"wan2_2": "Wan-AI/Wan2.2-I2V-A14B", "wan2_2_5b": "Wan-AI/Wan2.2-TI2V-5B"}


def facts(
    run: RunFolder, config: Config, checkpoint: Checkpoint, expert: Expert, kind: Format, licences: Sequence[str]
) -> dict[str, Any]:
    """What an exported file is. Names of files are cut to their last two parts: where they lay is nobody's business.

    Raises WeightsError and ExportError.
    """
    info = read_json(run.run_info) or {}
    source = source_of(resolve(config.model), expert)
    added = frozen_lora.of(config.model, expert)
    reward, lora = config.reward, config.lora
    table = (info.get("data") or {}).get("data") if isinstance(info.get("data"), dict) else None
    whole = schedule.trains_all_weights(config)
    return {
        "made_by": f"rewardfl-app {rewardfl_app.__version__}",
        "format": str(kind),
        "run": {"id": run.id, "name": str(info.get("name") or run.id), "seed": config.train.seed},
        "steps": checkpoint.step,
        "ema_decay": config.train.ema_decay or None,
        "expert": expert,
        "base_model": {
            "family": family.of(config.model).title,
            "files": [fingerprint(file) for file in source.files],
            "lora": None
            if added is None
            else {**fingerprint(added.path), "strength": added.strength, "merged_in_training": added.merged},
        },
        "trained": "all weights"
        if whole
        else {
            "rank": lora.lora_rank,
            "alpha": lora.lora_rank if lora.lora_alpha is None else lora.lora_alpha,
            "layers": list(lora.lora_target_modules),
        },
        "data": {"metadata_sha256": table.get("sha256") if isinstance(table, dict) else None},
        "reward": {
            "rewards": dict(reward.rewards),
            "kl_weight": reward.kl_weight,
            "face_pack": [fingerprint(file) for file in _pack(config)],
        },
        "licences": list(licences),
    }


def metadata(about: dict[str, Any]) -> dict[str, str]:
    """The facts as the header of a safetensors file holds them."""
    return {"format": "pt", METADATA_KEY: json.dumps(about, ensure_ascii=False, sort_keys=True)}


def fingerprint(path: Path) -> dict[str, Any]:
    """{file, bytes, sha256}; of a large file sha256_of_ends, that of its first and its last MiB one after the other.

    Raises ExportError where it cannot be read.
    """
    try:
        size = path.stat().st_size
        named = {"file": "/".join(path.absolute().parts[-2:]), "bytes": size}
        if size < content.WHOLE_BELOW_BYTES:
            return {**named, "sha256": content.file_digest(path)}
        with open_plain(path) as file:
            ends = file.read(_END_BYTES)
            file.seek(-_END_BYTES, os.SEEK_END)
            ends += file.read(_END_BYTES)
        return {**named, "sha256_of_ends": hashlib.sha256(ends).hexdigest()}
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror or error}): put it back where it was.") from error


def card(about: Sequence[dict[str, Any]], config: Config, files: Sequence[str]) -> str:
    """The README.md of an exported folder; `files`: what of it belongs to each of the facts, empty for all."""
    first, kind = about[0], Format(about[0]["format"])
    base = _HUB_NAMES.get(config.model.model_name)
    head = ["---", "library_name: diffusers", "pipeline_tag: image-to-video", "license: other"]
    head += [f"base_model: {base}"] if base else []
    head += ["tags:", "- reward-feedback-learning", *(["- lora"] if kind.is_lora else []), "---", ""]
    name = first["run"]["name"].replace("\n", " ")
    lines = [f"# {name}", "", _what(first, kind), ""]
    lines += ["## Use", "", *_use(about, kind, files), ""]
    lines += ["## Of what it was made", "", *_table(about, files), ""]
    lines += ["## Licences", "", *(f"* {licence}" for licence in first["licences"]), ""]
    return "\n".join([*head, *lines])


def _pack(config: Config) -> list[Path]:
    uses_faces = any(name == FACE_SIMILARITY for name, _ in config.reward.rewards)
    folder = config.reward.reward_model_path
    return sorted(Path(folder).rglob("*.onnx")) if uses_faces and folder else []


def _what(first: dict[str, Any], kind: Format) -> str:
    whole, base, steps = first["trained"] == "all weights", first["base_model"]["family"], first["steps"]
    text = f"{'The weights of' if whole else 'A LoRA for'} {base}, trained by Reward Feedback Learning for {steps} step"
    text += "" if steps == 1 else "s"
    text += "" if whole or kind.is_lora else " and merged into the weights"
    if first["reward"]["rewards"].get(FACE_SIMILARITY):
        text += ": a face recogniser scored the generated videos, so that the person in the first frame stays the same"
    return f"{text}."


def _use(about: Sequence[dict[str, Any]], kind: Format, files: Sequence[str]) -> list[str]:
    lines = []
    if kind == Format.DIFFUSERS:
        lines += ["    pipe = WanImageToVideoPipeline.from_pretrained(...)"]
        for each, file in zip(about, files, strict=True):
            second = ", load_into_transformer_2=True" if DIFFUSERS_NAME[each["expert"]] == "transformer_2" else ""
            lines.append(f'    pipe.load_lora_weights("FOLDER", weight_name="{file}", adapter_name="steady"{second})')
    elif kind == Format.COMFYUI:
        for each, file in zip(about, files, strict=True):
            lines.append(f"* `{file}`: a LoRA loader after the {_words(each['expert'])} model, strength 1")
    elif kind == Format.MERGED:
        for each, file in zip(about, files, strict=True):
            place = DIFFUSERS_NAME[each["expert"]]
            lines.append(
                f"* {_place(file)}: for `WanTransformer3DModel.from_pretrained`, or in place of the folder `{place}`"
            )
    else:
        lines += [
            f"* {_place(f)}: in place of the {_words(a['expert'])} model's files"
            for a, f in zip(about, files, strict=True)
        ]
    for each in about:
        added = each["base_model"]["lora"]
        if added is not None:
            lines += ["", _about_added(each["expert"], added, kind)]
    return lines


def _about_added(expert: str, added: dict[str, Any], kind: Format) -> str:
    name = f"the LoRA `{added['file']}` at strength {added['strength']:g}"
    if kind.is_lora:
        return (
            f"The {_words(expert)} base model had {name} on it. It is not in this file, which holds what was trained "
            "alone: load both."
        )
    return f"The {_words(expert)} weights have {name} in them, too: do not load it again."


def _table(about: Sequence[dict[str, Any]], files: Sequence[str]) -> list[str]:
    first = about[0]
    trained = first["trained"]
    how = (
        trained
        if isinstance(trained, str)
        else (f"LoRA of rank {trained['rank']}, alpha {trained['alpha']:g}, on {', '.join(trained['layers'])}")
    )
    rows = [
        ("run", f"{first['run']['id']} (seed {first['run']['seed']})"),
        (
            "steps",
            f"{first['steps']}" + (f", running mean with decay {first['ema_decay']:g}" if first["ema_decay"] else ""),
        ),
        ("trained", how),
        ("rewards", ", ".join(f"{name} x {weight:g}" for name, weight in first["reward"]["rewards"].items())),
        ("weight of the divergence", f"{first['reward']['kl_weight']:g}"),
        ("SHA-256 of metadata.csv", first["data"]["metadata_sha256"] or "-"),
        *(("face pack", _told(each)) for each in first["reward"]["face_pack"]),
        *(
            (f"base of {_place(file)}", _told(base))
            for a, file in zip(about, files, strict=True)
            for base in a["base_model"]["files"]
        ),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _place(file: str) -> str:
    return f"`{file}`" if file else "this folder"


def _told(fingerprint: dict[str, Any]) -> str:
    digest = fingerprint.get("sha256") or f"{fingerprint['sha256_of_ends']} (of its first and last MiB)"
    return f"{fingerprint['file']}, {fingerprint['bytes']} bytes, SHA-256 {digest}"


def _words(expert: str) -> str:
    return expert.replace("_", "-")
