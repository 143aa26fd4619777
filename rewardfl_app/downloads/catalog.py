"""What can be downloaded: from where, on whose terms, which files, and the settings that then name them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Name(StrEnum):
    """As the command calls them."""

    ANTELOPEV2 = "antelopev2"
    WAN2_2 = "wan2_2"
    WAN2_2_5B = "wan2_2_5b"
    LIGHTNING = "lightning"


@dataclass(frozen=True)
class Archive:
    """A zip file whose files are wanted side by side. `size` and `unpacked`: bytes of it and of what is in it; `digest`
    as fetch.digest_of writes it.
    """

    name: str
    url: str
    size: int
    unpacked: int
    digest: str


@dataclass(frozen=True)
class Repository:
    """Files of a model at Hugging Face: those that match `patterns`, each of which must match one at least.

    `model_paths`: the entry of model_paths.json for each network, as a path or as the pattern of its shards.
    """

    name: str
    patterns: tuple[str, ...]
    model_paths: dict[str, str] | None = None


@dataclass(frozen=True)
class Offer:
    """One thing to download. `licence` is a sentence, `terms` where it is written; `settings` have {folder} in them."""

    title: str
    licence: str
    terms: str
    origin: Archive | Repository
    settings: tuple[str, ...]


_APACHE = "Apache-2.0: use, change and pass it on, with its licence and notices."
_TEXT_ENCODER = "models_t5_umt5-xxl-enc-bf16.pth"
_TOKENIZER = "google/umt5-xxl"
_LIGHTNING = "Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1"
_LIGHTNING_FILES = tuple(f"{_LIGHTNING}/{name}_noise_model.safetensors" for name in ("high", "low"))

OFFERS = {
    Name.ANTELOPEV2: Offer(
        title="antelopev2, a face pack of insightface",
        licence="Non-commercial research purposes only; for anything else ask insightface.",
        terms="https://github.com/deepinsight/insightface/tree/master/model_zoo",
        origin=Archive(
            "antelopev2.zip",
            "https://github.com/deepinsight/insightface/releases/download/v0.7/antelopev2.zip",
            360_662_982,
            427_550_200,
            "sha256:8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
        ),
        settings=("reward.reward_model_path={folder}",),
    ),
    Name.WAN2_2: Offer(
        title="Wan2.2-I2V-A14B",
        licence=_APACHE,
        terms="https://huggingface.co/Wan-AI/Wan2.2-I2V-A14B",
        origin=Repository(
            "Wan-AI/Wan2.2-I2V-A14B",
            ("high_noise_model/*", "low_noise_model/*", _TEXT_ENCODER, "Wan2.1_VAE.pth", f"{_TOKENIZER}/*"),
            {
                "high_noise_model": "high_noise_model",
                "low_noise_model": "low_noise_model",
                "text_encoder": _TEXT_ENCODER,
                "vae": "Wan2.1_VAE.pth",
            },
        ),
        settings=(
            "model.model_name=wan2_2",
            "model.model_paths={folder}/model_paths.json",
            f"model.tokenizer_path={{folder}}/{_TOKENIZER}",
        ),
    ),
    Name.WAN2_2_5B: Offer(
        title="Wan2.2-TI2V-5B",
        licence=_APACHE,
        terms="https://huggingface.co/Wan-AI/Wan2.2-TI2V-5B",
        origin=Repository(
            "Wan-AI/Wan2.2-TI2V-5B",
            (
                "diffusion_pytorch_model-*.safetensors",
                "diffusion_pytorch_model.safetensors.index.json",
                "config.json",
                _TEXT_ENCODER,
                "Wan2.2_VAE.pth",
                f"{_TOKENIZER}/*",
            ),
            {
                "dit": "diffusion_pytorch_model-*.safetensors",
                "text_encoder": _TEXT_ENCODER,
                "vae": "Wan2.2_VAE.pth",
            },
        ),
        settings=(
            "model.model_name=wan2_2_5b",
            "model.model_paths={folder}/model_paths.json",
            f"model.tokenizer_path={{folder}}/{_TOKENIZER}",
        ),
    ),
    Name.LIGHTNING: Offer(
        title="Wan2.2-Lightning, the LoRAs of Wan2.2-I2V-A14B for few steps",
        licence=_APACHE,
        terms="https://huggingface.co/lightx2v/Wan2.2-Lightning",
        origin=Repository("lightx2v/Wan2.2-Lightning", _LIGHTNING_FILES),
        settings=(
            f"model.high_noise_lora={{folder}}/{_LIGHTNING}/high_noise_model.safetensors",
            f"model.low_noise_lora={{folder}}/{_LIGHTNING}/low_noise_model.safetensors",
        ),
    ),
}
