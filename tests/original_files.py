"""Writes the files of Wan2.2 as Wan-AI released them, key for key, from small networks of diffusers' classes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import T5TokenizerFast, UMT5EncoderModel

State = dict[str, Tensor]

_TRANSFORMER = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "to_out.0": "o",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "norm2": "norm3",
}
_TEXT_ENCODER = {
    "layer.0.layer_norm": "norm1",
    "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding",
    "layer.0.SelfAttention": "attn",
    "layer.1.layer_norm": "norm2",
    "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
    "layer.1.DenseReluDense.wi_1": "ffn.fc1",
    "layer.1.DenseReluDense.wo": "ffn.fc2",
    "encoder.block": "blocks",
    "encoder.final_layer_norm": "norm",
    "shared": "token_embedding",
}
_VAE = {
    "post_quant_conv": "conv2",
    "quant_conv": "conv1",
    "conv_in": "conv1",
    "norm_out": "head.0",
    "conv_out": "head.2",
    "mid_block.resnets.0": "middle.0",
    "mid_block.attentions.0": "middle.1",
    "mid_block.resnets.1": "middle.2",
}
_VAE_LAYER = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}


def transformer_state(state: State) -> State:
    """A transformer's tensors under Wan's names."""
    renamed = {}
    for key, value in state.items():
        if key == "scale_shift_table":
            key = "head.modulation"
        key = key.replace("scale_shift_table", "modulation")
        renamed[_replaced(key, _TRANSFORMER)] = value.contiguous()
    return renamed


def text_encoder_state(state: State) -> State:
    """A UMT5 encoder's tensors under Wan's names."""
    return {
        _replaced(key, _TEXT_ENCODER): value.clone()
        for key, value in state.items()
        if key != "encoder.embed_tokens.weight"
    }


def vae_state(vae: AutoencoderKLWan) -> State:
    """The tensors of a VAE of either generation under Wan's names."""
    return {_vae_key(key, vae): value.clone() for key, value in vae.state_dict().items()}


def write_expert(folder: Path, expert: WanTransformer3DModel, shards: int, model_type: str) -> list[Path]:
    """Shards with their index and Wan's own config.json; returns the shards."""
    folder.mkdir(parents=True, exist_ok=True)
    state = transformer_state(expert.state_dict())
    keys = sorted(state)
    files, weight_map = [], {}
    for number in range(shards):
        file = folder / f"diffusion_pytorch_model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = keys[number::shards]
        save_file({key: state[key] for key in part}, file)
        weight_map |= dict.fromkeys(part, file.name)
        files.append(file)
    index = {"metadata": {"total_size": sum(value.nbytes for value in state.values())}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    sizes = expert.config
    config = {
        "_class_name": "WanModel",
        "_diffusers_version": "0.33.0",
        "dim": sizes.num_attention_heads * sizes.attention_head_dim,
        "eps": 1e-06,
        "ffn_dim": sizes.ffn_dim,
        "freq_dim": sizes.freq_dim,
        "in_dim": sizes.in_channels,
        "model_type": model_type,
        "num_heads": sizes.num_attention_heads,
        "num_layers": sizes.num_layers,
        "out_dim": sizes.out_channels,
        "text_len": 512,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return files


def write_shared(
    folder: Path, text_encoder: UMT5EncoderModel, vae: AutoencoderKLWan, tokenizer: T5TokenizerFast
) -> None:
    """What both repositories have beside the transformers: text encoder, VAE and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    text = text_encoder_state(text_encoder.state_dict())
    torch.save(text, folder / "models_t5_umt5-xxl-enc-bf16.pth")
    name = "Wan2.2_VAE.pth" if vae.config["is_residual"] else "Wan2.1_VAE.pth"
    torch.save(vae_state(vae), folder / name)
    tokenizer.save_pretrained(folder / "google" / "umt5-xxl")


def _replaced(key: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        key = key.replace(ours, theirs)
    return key


def _vae_key(key: str, vae: AutoencoderKLWan) -> str:
    layers, residual = vae.config["num_res_blocks"], vae.config["is_residual"]
    found = re.fullmatch(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(.+)", key)
    if found is None:
        for ours, theirs in _VAE.items():
            if key.startswith(ours) or f".{ours}" in key:
                key = key.replace(ours, theirs, 1)
                break
        return _layer(key) if ".middle." in key else key
    half, way, level, rest = found[1], found[2], int(found[3]), found[4]
    inside = re.fullmatch(r"resnets\.(\d+)\.(.+)", rest)
    sampler = re.fullmatch(r"(?:(?:down|up)sampler|upsamplers\.0)\.(.+)", rest)
    per_level = layers if way == "down" else layers + 1
    if inside is None and sampler is None:  # Wan2.1's encoder, whose layers are one list in diffusers, too
        return _layer(f"{half}.{way}samples.{level}.{rest}")
    layer, name = (int(inside[1]), inside[2]) if inside else (per_level, sampler[1] if sampler else "")
    if residual:
        return _layer(f"{half}.{way}samples.{level}.{way}samples.{layer}.{name}")
    return _layer(f"{half}.{way}samples.{level * (per_level + 1) + layer}.{name}")


def _layer(key: str) -> str:
    for ours, theirs in _VAE_LAYER.items():
        key = re.sub(rf"\.{ours}\.(?=weight|bias|gamma)", f".{theirs}.", key)
    return key
