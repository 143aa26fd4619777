"""Original Wan transformers and text encoders (as released by Wan-AI and lightx2v) under diffusers' names, and the
configurations read from them."""

from __future__ import annotations

import re
from typing import Any

from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from torch import Tensor

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
HEAD_DIM = 128  # of every released Wan transformer; the tensor shapes alone do not tell it

_T5_NAMES = {
    "token_embedding.weight": "shared.weight",
    "norm.weight": "encoder.final_layer_norm.weight",
}
_T5_BLOCK_NAMES = {
    "norm1.weight": "layer.0.layer_norm.weight",
    "attn.q.weight": "layer.0.SelfAttention.q.weight",
    "attn.k.weight": "layer.0.SelfAttention.k.weight",
    "attn.v.weight": "layer.0.SelfAttention.v.weight",
    "attn.o.weight": "layer.0.SelfAttention.o.weight",
    "pos_embedding.embedding.weight": "layer.0.SelfAttention.relative_attention_bias.weight",
    "norm2.weight": "layer.1.layer_norm.weight",
    "ffn.gate.0.weight": "layer.1.DenseReluDense.wi_0.weight",
    "ffn.fc1.weight": "layer.1.DenseReluDense.wi_1.weight",
    "ffn.fc2.weight": "layer.1.DenseReluDense.wo.weight",
}


def transformer_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's tensors under diffusers' names; already converted ones pass through."""
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    if "head.modulation" not in state:
        return state
    return convert_wan_transformer_to_diffusers(state)


def transformer_config(config: dict[str, Any], state: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments of WanTransformer3DModel from converted tensors; `config` is the original config.json, or {}."""
    width = state["patch_embedding.weight"].shape[0]
    patch = tuple(state["patch_embedding.weight"].shape[2:])
    blocks = {int(found.group(1)) for key in state if (found := re.match(r"blocks\.(\d+)\.", key))}
    heads = config.get("num_heads") or max(1, width // HEAD_DIM)
    return {
        "patch_size": patch,
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "in_channels": state["patch_embedding.weight"].shape[1],
        "out_channels": state["proj_out.weight"].shape[0] // (patch[0] * patch[1] * patch[2]),
        "text_dim": state["condition_embedder.text_embedder.linear_1.weight"].shape[1],
        "freq_dim": state["condition_embedder.time_embedder.linear_1.weight"].shape[1],
        "ffn_dim": state["blocks.0.ffn.net.0.proj.weight"].shape[0],
        "num_layers": max(blocks) + 1,
        "cross_attn_norm": "blocks.0.norm2.weight" in state,
        "eps": config.get("eps", 1e-6),
    }


def text_encoder_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A UMT5 encoder's tensors under transformers' names; already converted ones pass through."""
    if "token_embedding.weight" not in state:
        return state
    converted = {}
    for key, value in state.items():
        block = re.match(r"blocks\.(\d+)\.(.+)", key)
        if block and block.group(2) in _T5_BLOCK_NAMES:
            converted[f"encoder.block.{block.group(1)}.{_T5_BLOCK_NAMES[block.group(2)]}"] = value
        else:
            converted[_T5_NAMES.get(key, key)] = value
    return converted


def text_encoder_config(state: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments of UMT5Config from converted tensors; dropout 0 as it only matters for training."""
    blocks = {int(found.group(1)) for key in state if (found := re.match(r"encoder\.block\.(\d+)\.", key))}
    buckets, heads = state["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].shape
    return {
        "vocab_size": state["shared.weight"].shape[0],
        "d_model": state["shared.weight"].shape[1],
        "d_kv": state["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0] // heads,
        "d_ff": state["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"].shape[0],
        "num_layers": max(blocks) + 1,
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        "is_encoder_decoder": False,
    }
