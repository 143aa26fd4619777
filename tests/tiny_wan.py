"""A random image-to-video pipeline folder of the real classes and file formats, small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

from rewardfl_app.config.schema import ModelConfig

WORDS = ["a", "man", "woman", "smiles", "turns", "talks", "camera", "portrait"]
NETWORKS = ("transformer", "transformer_2", "text_encoder", "vae")


def tokenizer() -> T5TokenizerFast:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [("▁" + word, -1.0) for word in WORDS] + [("▁", -2.0)] + [(c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz"]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=16)


def transformer(layers: int = 2) -> WanTransformer3DModel:
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=36,
        out_channels=16,
        text_dim=16,
        freq_dim=32,
        ffn_dim=48,
        num_layers=layers,
        rope_max_seq_len=32,
    )
    with torch.no_grad():
        model.proj_out.weight.mul_(3)
    return model


def vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1)


def residual_vae() -> AutoencoderKLWan:
    """The VAE of Wan2.2-5B, whose blocks have shortcuts and which decodes patches of 2 x 2 pixels."""
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=16,
        dim_mult=[1, 2, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
    )


def text_encoder() -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=64,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
    )
    return UMT5EncoderModel(config)


def pipeline() -> WanImageToVideoPipeline:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WanImageToVideoPipeline(
            tokenizer=tokenizer(),
            text_encoder=text_encoder().eval(),
            vae=vae().eval(),
            transformer=transformer().eval(),
            transformer_2=transformer().eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
            boundary_ratio=0.9,
        )


def save(folder: Path) -> Path:
    """Saves the pipeline and a model_paths.json beside it; returns the JSON file."""
    pipeline().save_pretrained(folder)
    paths = folder / "model_paths.json"
    paths.write_text(json.dumps(list(NETWORKS)), encoding="utf-8")
    return paths


def model_config(folder: Path, **changes: object) -> ModelConfig:
    settings = {
        "model_name": "wan2_2",
        "model_paths": str(folder / "model_paths.json"),
        "tokenizer_path": str(folder / "tokenizer"),
        "dtype": "float32",
        "use_gradient_checkpointing": False,
        "use_gradient_checkpointing_offload": False,
    }
    return ModelConfig(**{**settings, **changes})
