"""Loading a Wan image-to-video model: two experts, VAE, text encoder and tokenizer, each from its own files."""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5Config, UMT5EncoderModel

from rewardfl_app.models import original_format, weights
from rewardfl_app.models.sources import Source, WeightsError, resolve

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Expert, ModelConfig

logger = logging.getLogger(__name__)

Module = TypeVar("Module", bound=torch.nn.Module)

MAX_SEQUENCE_LENGTH = 512  # of Wan2.2; a tokenizer that allows fewer tokens lowers it
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class WanModel:
    """The frozen networks of an image-to-video pipeline on one device.

    `experts` holds the transformer of each expert: 36 input channels (16 noisy latents, 4 mask, 16 condition), 16 out.
    """

    experts: dict[Expert, WanTransformer3DModel]
    vae: AutoencoderKLWan
    text_encoder: UMT5EncoderModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device

    @property
    def max_sequence_length(self) -> int:
        """Tokens a prompt is padded or cut to."""
        return min(MAX_SEQUENCE_LENGTH, int(self.tokenizer.model_max_length))


def load(model: ModelConfig, device: torch.device | str = "cpu") -> WanModel:
    """The model a configuration names. Raises WeightsError naming the file and key that is wrong."""
    sources = resolve(model)
    dtype = DTYPES[model.dtype]
    device = torch.device(device)
    # The tokenizer first: it is the cheapest to fail.
    tokenizer = load_tokenizer(sources.tokenizer)
    experts: dict[Expert, WanTransformer3DModel] = {
        "high_noise": load_expert(sources.high_noise, dtype),
        "low_noise": load_expert(sources.low_noise, dtype),
    }
    for expert in experts.values():
        _checkpointing(expert, model, device)
        _place(expert, device)
    vae = _place(load_vae(sources.vae, dtype), device)
    if device.type == "cpu":
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv3d):  # see vae_sequence: the fast layout of its inputs
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last_3d)
    return WanModel(experts, vae, _place(load_text_encoder(sources.text_encoder, dtype), device), tokenizer, device)


def load_expert(source: Source, dtype: torch.dtype = torch.float32) -> WanTransformer3DModel:
    """One transformer from a diffusers folder, a file or shards in diffusers' or Wan's own key names.

    As in diffusers, the time embedder, the norms and the modulation tables stay in float32 whatever `dtype` is.
    """
    state = original_format.transformer_state(weights.read_state(source))
    config = weights.read_config(source)
    if "num_attention_heads" not in config:
        config = _inferred(source, lambda: original_format.transformer_config(config, state))
    with weights.empty_weights():
        expert = WanTransformer3DModel(**_arguments(WanTransformer3DModel, config))
    filled = weights.fill(
        expert,
        state,
        source,
        dtype=dtype,
        keep_float32=WanTransformer3DModel._keep_in_fp32_modules,
        ignored=WanTransformer3DModel._keys_to_ignore_on_load_unexpected,
    )
    if filled.config.in_channels != filled.config.out_channels * 2 + 4:
        raise WeightsError(
            f"{source.network}: {source.place} takes {filled.config.in_channels} channels, "
            "an image-to-video transformer of Wan2.2 takes 36 (16 latent, 4 mask, 16 condition): these weights are of "
            "another model"
        )
    return filled


def load_vae(source: Source, dtype: torch.dtype = torch.float32) -> AutoencoderKLWan:
    """The VAE from a diffusers folder or an original Wan2.1 file (`.pth` or `.safetensors`)."""
    state = original_format.vae_state(weights.read_state(source))
    config = weights.read_config(source)
    if "base_dim" not in config:
        config = _inferred(source, lambda: original_format.vae_config(state))
    with weights.empty_weights():
        vae = AutoencoderKLWan(**_arguments(AutoencoderKLWan, config))
    return weights.fill(vae, state, source, dtype=dtype)


def load_text_encoder(source: Source, dtype: torch.dtype = torch.float32) -> UMT5EncoderModel:
    """The UMT5 encoder from a transformers folder or Wan's original file."""
    state = original_format.text_encoder_state(weights.read_state(source))
    config = weights.read_config(source)
    if "d_model" not in config:
        config = _inferred(source, lambda: original_format.text_encoder_config(state))
    with weights.empty_weights():
        encoder = UMT5EncoderModel(UMT5Config(**config))
    filled = weights.fill(encoder, state, source, dtype=dtype, tied=("encoder.embed_tokens.weight", "shared.weight"))
    filled.tie_weights()
    if filled.shared.weight.is_meta:
        raise WeightsError(f"{source.network}: {source.place} has no key shared.weight")
    return filled


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or, from the local cache or the network, of a hub name."""
    if name.startswith(("/", ".")) and not Path(name).is_dir():
        raise WeightsError(f"tokenizer: {name} is not a folder; set model.tokenizer_path")
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"tokenizer: {name} cannot be loaded ({str(error).splitlines()[0]})") from error


def _place(module: Module, device: torch.device) -> Module:
    module.to(device)
    return module


def _arguments(cls: type, config: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(cls).parameters
    return {key: value for key, value in config.items() if key in known}


def _inferred(source: Source, infer: Any) -> dict[str, Any]:
    try:
        return infer()
    except KeyError as error:
        raise WeightsError(f"{source.network}: {source.place} has no key {error.args[0]}") from error


def _checkpointing(expert: WanTransformer3DModel, model: ModelConfig, device: torch.device) -> None:
    if not model.use_gradient_checkpointing:
        return
    offload = model.use_gradient_checkpointing_offload and device.type != "cpu"

    def run(block: torch.nn.Module, *inputs: Any) -> Any:
        if not offload:
            return torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False)
        with torch.autograd.graph.save_on_cpu(pin_memory=True):
            return torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False)

    expert.enable_gradient_checkpointing(run)
