"""The layers of a Wan transformer: Wan's own names (as in its releases and in ComfyUI) beside diffusers'."""

from __future__ import annotations

import re

_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
    "norm_k_img": "norm_added_k",
}
_IN_BLOCK = {
    **{f"self_attn.{wan}": f"attn1.{diffusers}" for wan, diffusers in _ATTENTION.items()},
    **{f"cross_attn.{wan}": f"attn2.{diffusers}" for wan, diffusers in _ATTENTION.items()},
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm3": "norm2",
    "modulation": "scale_shift_table",
}
_OUTSIDE = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_FLAT_BLOCK = re.compile(r"blocks_(\d+)_(.+)")


def _flat(names: dict[str, str]) -> dict[str, str]:
    """Names of either kind with underscores for dots, as kohya's scripts write them -> diffusers' names."""
    both = list(names.items()) + [(name, name) for name in names.values()]
    return {name.replace(".", "_"): diffusers for name, diffusers in both}


_FLAT_IN_BLOCK, _FLAT_OUTSIDE = _flat(_IN_BLOCK), _flat(_OUTSIDE)
_WAN_IN_BLOCK = {diffusers: wan for wan, diffusers in _IN_BLOCK.items()}
_WAN_OUTSIDE = {diffusers: wan for wan, diffusers in _OUTSIDE.items()}


def to_diffusers(layer: str) -> str:
    """diffusers' name of a layer (`blocks.0.attn1.to_q`) named by Wan; any other name is given back as it is."""
    found = _BLOCK.fullmatch(layer)
    if found:
        return f"blocks.{found[1]}.{_IN_BLOCK.get(found[2], found[2])}"
    return _OUTSIDE.get(layer, layer)


def from_flat(layer: str) -> str:
    """diffusers' name of a layer named with underscores for dots (`blocks_0_self_attn_q`), as `to_diffusers`."""
    found = _FLAT_BLOCK.fullmatch(layer)
    if found:
        return f"blocks.{found[1]}.{_FLAT_IN_BLOCK.get(found[2], found[2])}"
    return _FLAT_OUTSIDE.get(layer, layer)


def to_wan(parameter: str) -> str:
    """Wan's name of a parameter (`blocks.0.attn1.to_q.weight`) or layer that diffusers names."""
    layer, dot, kind = parameter.rpartition(".")
    if kind not in ("weight", "bias"):
        layer, dot, kind = parameter, "", ""
    found = _BLOCK.fullmatch(layer)
    wan = f"blocks.{found[1]}.{_WAN_IN_BLOCK.get(found[2], found[2])}" if found else _WAN_OUTSIDE.get(layer, layer)
    return f"{wan}{dot}{kind}"
