"""The sizes of the networks: those of the classes, and of the files that ship with the package."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from rewardfl_app.config.family import FAMILIES
from rewardfl_app.models import lora
from rewardfl_app.planning.network_sizes import NETWORKS
from rewardfl_app.pocket import paths

_BILLIONS = {"pocket": 0.00393, "wan2_2": 14.29, "wan2_2_5b": 5.0}


def numbers(module: torch.nn.Module, *beginnings: str) -> int:
    return sum(p.numel() for name, p in module.named_parameters() if name.startswith(beginnings or ("",)))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_parameters_counted_are_those_of_the_classes(name: str) -> None:
    network = NETWORKS[name]
    assert FAMILIES[name].heads == network.transformer["num_attention_heads"]
    with torch.device("meta"):
        transformer, vae = WanTransformer3DModel(**network.transformer), AutoencoderKLWan(**network.vae)
    assert network.parameters == numbers(transformer)
    assert network.parameters / 1e9 == pytest.approx(_BILLIONS[name], rel=0.01)
    assert network.block_parameters == numbers(transformer, "blocks.0.")
    encoder = numbers(vae, "encoder", "quant_conv")
    assert (network.vae_encoder, network.vae_decoder) == (encoder, numbers(vae) - encoder)
    for targets in (("q", "k", "v", "o", "ffn.0", "ffn.2"), ("q", "ffn.2")):
        with torch.device("meta"):
            transformer = WanTransformer3DModel(**network.transformer).requires_grad_(False)
            lora.add(transformer, targets, 8, None, seed=0)
        trained = sum(p.numel() for p in lora.trainable_parameters(transformer))
        assert network.lora_parameters(targets, 8) == trained


def test_the_text_encoders() -> None:
    released = UMT5Config(vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
                          feed_forward_proj="gated-gelu")  # fmt: skip
    embedded = UMT5Config(**config("text_encoder"))
    for name, settings in (("pocket", embedded), ("wan2_2", released), ("wan2_2_5b", released)):
        with torch.device("meta"):
            assert NETWORKS[name].text_encoder == numbers(UMT5EncoderModel(settings))


def test_the_embedded_models_are_what_is_told() -> None:
    network = NETWORKS["pocket"]
    for folder in ("transformer", "transformer_2"):
        found = config(folder)
        told = {key: list(value) if isinstance(value, tuple) else value for key, value in network.transformer.items()}
        assert told == {key: found[key] for key in told}
    assert dict(network.vae) == {key: config("vae")[key] for key in network.vae}


def config(folder: str) -> dict[str, Any]:
    return json.loads((paths.WAN / folder / "config.json").read_text())
