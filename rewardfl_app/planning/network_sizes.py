"""The released networks of each family by their sizes: what they hold, and what they are built from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

TEXT_TOKENS = 512


@dataclass(frozen=True)
class Network:
    """Numbers of parameters of the networks beside the transformer, and the arguments of the transformer and the VAE
    (of diffusers' classes, which have the others as their defaults)."""

    transformer: MappingProxyType[str, Any]
    vae: MappingProxyType[str, Any]
    text_encoder: int
    vae_encoder: int
    vae_decoder: int

    @property
    def layers(self) -> int:
        """Blocks of the transformer."""
        return int(self.transformer["num_layers"])

    @property
    def width(self) -> int:
        """Channels of a token."""
        return int(self.transformer["num_attention_heads"]) * int(self.transformer["attention_head_dim"])

    @property
    def feed_forward(self) -> int:
        """Channels inside a block's feed-forward network."""
        return int(self.transformer["ffn_dim"])

    @property
    def decoder_width(self) -> int:
        """Channels of the VAE's decoder at full size."""
        return int(self.vae.get("decoder_base_dim", self.vae["base_dim"]))

    @property
    def block_parameters(self) -> int:
        """Of one block: two attentions of four products with their norms, the feed-forward network, a norm, six
        modulations."""
        w, f = self.width, self.feed_forward
        return 2 * (4 * (w * w + w) + 2 * w) + (2 * w * f + f + w) + 2 * w + 6 * w

    @property
    def parameters(self) -> int:
        """Of one transformer."""
        arguments, w = self.transformer, self.width
        patches = 4 * w * int(arguments["in_channels"]) + w
        times = int(arguments["freq_dim"]) * w + w + w * w + w + 6 * w * w + 6 * w
        words = int(arguments["text_dim"]) * w + w + w * w + w
        out = 4 * int(arguments["out_channels"]) * (w + 1) + 2 * w
        return self.layers * self.block_parameters + patches + times + words + out

    def lora_parameters(self, targets: Iterable[str], rank: int) -> int:
        """Of a LoRA on these layers (Wan's own names) of every block."""
        w, f = self.width, self.feed_forward
        sides = {"ffn.0": w + f, "ffn.2": f + w}
        # q, k, v and o are in both attentions.
        return self.layers * rank * sum(sides.get(target, 4 * w) for target in targets)


def _fixed(**arguments: Any) -> MappingProxyType[str, Any]:
    return MappingProxyType(arguments)


# Of the config.json files of Wan-AI/Wan2.2-I2V-A14B-Diffusers and Wan-AI/Wan2.2-TI2V-5B-Diffusers, and the package's
# own.
NETWORKS = {
    "pocket": Network(
        _fixed(
            num_attention_heads=6, attention_head_dim=32, ffn_dim=768, in_channels=36, out_channels=16, num_layers=6,
            text_dim=64, freq_dim=64, patch_size=(1, 2, 2),
        ),
        _fixed(base_dim=16, z_dim=16, num_res_blocks=1),
        text_encoder=88_064,
        vae_encoder=1_026_976,
        vae_decoder=1_551_011,
    ),
    "wan2_2": Network(
        _fixed(
            num_attention_heads=40, attention_head_dim=128, ffn_dim=13824, in_channels=36, out_channels=16,
            num_layers=40, text_dim=4096, freq_dim=256, patch_size=(1, 2, 2),
        ),
        _fixed(base_dim=96, z_dim=16),
        text_encoder=5_680_910_336,
        vae_encoder=53_596_928,
        vae_decoder=73_295_603,
    ),
    "wan2_2_5b": Network(
        _fixed(
            num_attention_heads=24, attention_head_dim=128, ffn_dim=14336, in_channels=48, out_channels=48,
            num_layers=30, text_dim=4096, freq_dim=256, patch_size=(1, 2, 2),
        ),
        _fixed(
            base_dim=160, decoder_base_dim=256, z_dim=48, is_residual=True, in_channels=12, out_channels=12,
            patch_size=2, scale_factor_spatial=16,
        ),
        text_encoder=5_680_910_336,
        vae_encoder=149_637_088,
        vae_decoder=555_051_580,
    ),
}  # fmt: skip
