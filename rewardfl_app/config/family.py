"""What tells the model families apart before any of their weights is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewardfl_app.config.schema import ModelConfig

TEMPORAL_FACTOR = 4  # frames per latent frame, of every family
PATCH = 2  # latents per token of the transformer, along height and width


@dataclass(frozen=True)
class Family:
    """`networks`: keys of the weight files, in the order of a list. `channels` of a latent, which stands for
    `pixels_per_latent` x `pixels_per_latent` pixels of four frames. `heads` of the transformers' attention.

    `holds_first_frame`: the given frame takes the place of its latents at every step, where the transformers of other
    families get it as channels of their own. `offer`: what `download` calls its files, which lie in `repository`.
    """

    title: str
    networks: tuple[str, ...]
    channels: int
    pixels_per_latent: int
    heads: int
    holds_first_frame: bool
    offer: str = ""
    repository: str = ""

    @property
    def is_mixture(self) -> bool:
        """Whether two transformers share the noise levels."""
        return len(self.networks) == 4

    @property
    def size_multiple(self) -> int:
        """Height and width of a video are multiples of it."""
        return PATCH * self.pixels_per_latent

    def num_tokens(self, num_frames: int, height: int, width: int) -> int:
        """Tokens of a video in the transformer; see `latent_shape`."""
        _, frames, rows, columns = self.latent_shape(num_frames, height, width)
        return frames * (rows // PATCH) * (columns // PATCH)

    def latent_shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """[channels, T', h, w] of a video of num_frames = 4k + 1 frames of height x width pixels."""
        side = self.pixels_per_latent
        return self.channels, (num_frames - 1) // TEMPORAL_FACTOR + 1, height // side, width // side


_TWO_EXPERTS = ("high_noise_model", "low_noise_model", "text_encoder", "vae")
FAMILIES = {
    "pocket": Family("the pocket family", _TWO_EXPERTS, 16, 8, heads=6, holds_first_frame=False),
    "wan2_2": Family(
        "Wan2.2-I2V-A14B",
        _TWO_EXPERTS,
        16,
        8,
        heads=40,
        holds_first_frame=False,
        offer="wan2_2",
        repository="Wan-AI/Wan2.2-I2V-A14B",
    ),
    "wan2_2_5b": Family(
        "Wan2.2-TI2V-5B",
        ("dit", "text_encoder", "vae"),
        48,
        16,
        heads=24,
        holds_first_frame=True,
        offer="wan2_2_5b",
        repository="Wan-AI/Wan2.2-TI2V-5B",
    ),
}
WORDS = {
    "high_noise_model": "high-noise model",
    "low_noise_model": "low-noise model",
    "dit": "transformer",
    "text_encoder": "text encoder",
    "vae": "VAE",
}


def of(model: ModelConfig) -> Family:
    """The family that a configuration names."""
    return FAMILIES[model.model_name]


def listed(family: Family) -> str:
    """Its networks as a sentence names them, in order."""
    return ", ".join(WORDS[name] for name in family.networks)
