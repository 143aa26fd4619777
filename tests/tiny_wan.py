"""A random image-to-video pipeline folder of the real classes and file formats, small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from torch import Tensor
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

from rewardfl_app.config.schema import ModelConfig
from rewardfl_app.models.original_vae import MEAN_48, STD_48

WORDS = ["a", "man", "woman", "smiles", "turns", "talks", "camera", "portrait"]
NETWORKS = ("transformer", "transformer_2", "text_encoder", "vae")


def tokenizer() -> T5TokenizerFast:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [("▁" + word, -1.0) for word in WORDS] + [("▁", -2.0)] + [(c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz"]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=16)


def transformer(layers: int = 2, taken: int = 36, given: int = 16) -> WanTransformer3DModel:
    """`taken` and `given`: channels in and out."""
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=taken,
        out_channels=given,
        text_dim=16,
        freq_dim=32,
        ffn_dim=48,
        num_layers=layers,
        rope_max_seq_len=32,
    )
    with torch.no_grad():
        model.proj_out.weight.mul_(3)
    return model


def single_transformer() -> WanTransformer3DModel:
    """That of Wan2.2-TI2V-5B: as many channels in as out, times per token."""
    return transformer(taken=48, given=48)


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


def single_vae() -> AutoencoderKLWan:
    """`residual_vae` with the latents, levels and layers of the released one."""
    return AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=4,
        z_dim=48,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=list(MEAN_48),
        latents_std=list(STD_48),
    )


def single_pipeline() -> WanImageToVideoPipeline:
    """Wan2.2-TI2V-5B in small."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WanImageToVideoPipeline(
            tokenizer=tokenizer(),
            text_encoder=text_encoder().eval(),
            vae=single_vae().eval(),
            transformer=single_transformer().eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
            expand_timesteps=True,
        )


def latents_of(pipe: WanImageToVideoPipeline, image: Tensor, prompts: list[str], noise: Tensor, **more: Any) -> Tensor:
    """What a pipeline makes of noise in eight steps of our grid; its own call would take another one.

    `image` [1, 3, H, W] in [-1, 1].
    """
    schedule = pipe.scheduler

    def explicit_sigmas(steps: int, device: torch.device) -> None:
        FlowMatchEulerDiscreteScheduler.set_timesteps(schedule, sigmas=np.linspace(1, 1 / steps, steps), device=device)

    schedule.set_timesteps = explicit_sigmas
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        image=(image + 1) / 2,
        prompt=prompts,
        height=image.shape[2],
        width=image.shape[3],
        num_frames=4 * (noise.shape[2] - 1) + 1,
        num_inference_steps=8,
        guidance_scale=1.0,
        latents=noise,
        output_type="latent",
        **{"max_sequence_length": 16, **more},
    ).frames


def save_single(folder: Path) -> Path:
    """Saves the small Wan2.2-TI2V-5B and a model_paths.json beside it; returns the JSON file."""
    single_pipeline().save_pretrained(folder)
    paths = folder / "model_paths.json"
    paths.write_text(json.dumps({"dit": "transformer", "text_encoder": "text_encoder", "vae": "vae"}), encoding="utf-8")
    return paths


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
