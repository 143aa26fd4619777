"""Original VAEs of Wan2.1 and Wan2.2 under diffusers' names, and the configurations read from their tensors."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

# Names of parts of the whole, and of a layer of a level; a name that none of them has stays as it is and is told.
_WHOLE = {
    "conv1": "quant_conv",
    "conv2": "post_quant_conv",
    "encoder.conv1": "encoder.conv_in",
    "decoder.conv1": "decoder.conv_in",
    "encoder.head.0": "encoder.norm_out",
    "decoder.head.0": "decoder.norm_out",
    "encoder.head.2": "encoder.conv_out",
    "decoder.head.2": "decoder.conv_out",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_LAYER = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_KEY = re.compile(r"(?P<part>.+)\.(?P<value>weight|bias|gamma)")
_IN_MIDDLE = re.compile(r"(encoder|decoder)\.middle\.([012])\.(.+)")
# Wan2.1 has all layers in one list, Wan2.2 a list of levels with a list of layers each.
_IN_LIST = re.compile(r"(encoder|decoder)\.(down|up)samples\.(\d+)\.(?!downsamples|upsamples)(.+)")
_IN_LEVEL = re.compile(r"(encoder|decoder)\.(down|up)samples\.(\d+)\.(?:down|up)samples\.(\d+)\.(.+)")
_SAMPLER = ("resample.", "time_conv")
# Per channel, of the latents of Wan2.2_VAE.pth, whose file does not hold them (Wan2.2, wan/modules/vae2_2.py).
# fmt: off
MEAN_48 = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)
STD_48 = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)
# fmt: on


def state(original: dict[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's tensors under diffusers' names; already converted ones pass through."""
    if "decoder.middle.0.residual.0.gamma" not in original:
        return original
    samplers = sorted(
        {
            int(found[3])
            for key in original
            if (found := _IN_LIST.fullmatch(key)) and found[1] == "decoder" and found[4].startswith(_SAMPLER)
        }
    )
    return {_name(key, samplers): value for key, value in original.items()}


def config(converted: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments of AutoencoderKLWan for the converted tensors of an original file.

    Raises KeyError for a tensor that is missing, ValueError where the VAE is of neither generation.
    """
    first, z_dim = converted["encoder.conv_in.weight"], converted["post_quant_conv.weight"].shape[0]
    up = re.compile(r"decoder\.up_blocks\.0\.resnets\.(\d+)\.conv1\.weight")
    num_res_blocks = max((int(found[1]) for key in converted if (found := up.fullmatch(key))), default=0)
    if not any(key.startswith("encoder.down_blocks.0.resnets.") for key in converted):
        return {"base_dim": first.shape[0], "z_dim": z_dim, "num_res_blocks": num_res_blocks}
    if z_dim != len(MEAN_48):
        raise ValueError(f"{z_dim} latent channels, Wan2.2's VAE has {len(MEAN_48)}")
    return {
        "base_dim": first.shape[0],
        # The decoder begins four times as wide as it ends (dim_mult 1, 2, 4, 4).
        "decoder_base_dim": converted["decoder.conv_in.weight"].shape[0] // 4,
        "z_dim": z_dim,
        "num_res_blocks": num_res_blocks,
        "is_residual": True,
        "in_channels": first.shape[1],
        "out_channels": first.shape[1],
        "patch_size": 2,
        "scale_factor_spatial": 16,
        "latents_mean": list(MEAN_48),
        "latents_std": list(STD_48),
    }


def _name(key: str, samplers: list[int]) -> str:
    """diffusers' name; `samplers`: the places in Wan2.1's decoder that end a level."""
    split = _KEY.fullmatch(key)
    if split is None:
        return key
    part, value = split["part"], split["value"]
    return f"{_part(part, samplers) or part}.{value}"


def _part(part: str, samplers: list[int]) -> str | None:
    if part in _WHOLE:
        return _WHOLE[part]
    if found := _IN_MIDDLE.fullmatch(part):
        inside = found[3] if found[2] == "1" else _LAYER.get(found[3], found[3])
        return f"{found[1]}.mid_block.{_MIDDLE[found[2]]}.{inside}"
    if found := _IN_LEVEL.fullmatch(part):
        half, way, level, layer, inside = found.groups()
        if inside.startswith(_SAMPLER):
            return f"{half}.{way}_blocks.{level}.{way}sampler.{inside}"
        return f"{half}.{way}_blocks.{level}.resnets.{layer}.{_LAYER.get(inside, inside)}"
    if found := _IN_LIST.fullmatch(part):
        half, way, place, inside = found[1], found[2], int(found[3]), found[4]
        if half == "encoder":
            return f"encoder.down_blocks.{place}.{_LAYER.get(inside, inside)}"
        before = [sampler for sampler in samplers if sampler < place]
        block = f"decoder.up_blocks.{len(before)}"
        if inside.startswith(_SAMPLER):
            return f"{block}.upsamplers.0.{inside}"
        return f"{block}.resnets.{place - (before[-1] + 1 if before else 0)}.{_LAYER.get(inside, inside)}"
    return None
