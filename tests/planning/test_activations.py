"""The memory of the activations as the formulas tell it, held to the allocations of the real code at real sizes."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
import torch
from deepspeed.runtime.zero.linear import zero3_linear_wrap
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch._subclasses.fake_tensor import FakeTensorMode
from traced_memory import Traced, stand_in

from rewardfl_app.config import family, presets
from rewardfl_app.config.schema import Config
from rewardfl_app.models import adaptation, sampling, vae_sequence, vae_stream, wan
from rewardfl_app.models.lora_linear import LoraLinear
from rewardfl_app.models.wan import WanVae
from rewardfl_app.planning import activations
from rewardfl_app.planning.network_sizes import NETWORKS, Network
from rewardfl_app.training import losses

ALL = "q,k,v,o,ffn.0,ffn.2"
LAYERS = 3


def settings(targets: str, dtype: str, checkpointing: bool, preset: str = "wan22_80gb") -> Config:
    mapping = presets.preset(preset).model_dump(mode="json")
    mapping["lora"]["lora_target_modules"] = targets
    mapping["model"] |= {
        "dtype": dtype,
        "use_gradient_checkpointing": checkpointing,
        "use_gradient_checkpointing_offload": False,
    }
    return Config.model_validate(mapping)


def traced_step(network: Network, config: Config) -> dict[str, float]:
    """Bytes of a step without a graph, held by a graph, and the most of a gradient step with its reference."""
    data = config.data
    dtype = wan.DTYPES[config.model.dtype]
    with torch.device("meta"):
        expert = WanTransformer3DModel(**network.transformer).requires_grad_(False)
        trained = adaptation.LoraAdaptation(expert, config, seed=0)
    shape = family.of(config.model).latent_shape(data.num_frames, data.height or 0, data.width or 0)
    with FakeTensorMode(allow_non_fake_inputs=True), Traced() as traced:
        stand_in(expert, dtype)
        wan.checkpointing(expert, config.model, torch.device("cpu"))
        x, text = torch.randn(1, *shape), torch.randn(1, 512, 4096)
        condition = torch.randn(1, family.TEMPORAL_FACTOR + shape[0], *shape[1:])
        before = traced.start()
        with torch.no_grad():
            sampling.predict_velocity(expert, x, 0.5, text, condition)
        forward = traced.peak - before
        before = traced.start()
        leaf = x.clone().requires_grad_(True)
        v = sampling.predict_velocity(expert, leaf, 0.5, text, condition)
        held = traced.now - before
        with torch.no_grad(), trained.base():
            reference = sampling.predict_velocity(expert, x, 0.5, text, condition)
        ((v * x).sum() + losses.divergence(v, reference, 0.5).sum()).backward()
        return {"forward": forward, "held": held, "step": traced.peak - before}


@pytest.mark.parametrize("zero_stage", [0, 3])
@pytest.mark.parametrize(
    ("name", "dtype", "targets", "checkpointing"),
    [
        ("wan2_2", "bfloat16", ALL, True),
        ("wan2_2", "bfloat16", ALL, False),
        ("wan2_2", "bfloat16", "q,v", True),
        ("wan2_2", "float32", ALL, True),
        ("wan2_2", "float32", "o", False),
        ("wan2_2_5b", "bfloat16", ALL, True),
        ("wan2_2_5b", "float32", "q,k", True),
        ("wan2_2_5b", "bfloat16", ALL, False),
    ],
)
def test_a_step_of_the_transformer(
    name: str, dtype: str, targets: str, checkpointing: bool, zero_stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which product is in use is set here: once one of a process's engines is of ZeRO 3, all have DeepSpeed's."""
    linear = zero3_linear_wrap if zero_stage == 3 else torch._C._nn.linear
    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    if zero_stage == 3:  # whose divided weights the LoRA cannot be joined with
        monkeypatch.setattr(LoraLinear, "joined", False)
    released = NETWORKS[name]
    network = replace(released, transformer=MappingProxyType({**released.transformer, "num_layers": LAYERS}))
    config = settings(targets, dtype, checkpointing, "wan22_80gb" if name == "wan2_2" else "wan22_5b_24gb")
    kind = family.of(config.model)
    _, frames, rows, columns = kind.latent_shape(
        config.data.num_frames, config.data.height or 0, config.data.width or 0
    )
    tokens = frames * rows * columns // family.PATCH**2
    told = activations.transformer(
        network,
        tokens,
        dtype,
        targets.split(","),
        32,
        times_per_token=kind.holds_first_frame,
        joined=zero_stage < 3,
        zero_stage=zero_stage,
    )
    found = traced_step(network, config)
    assert told.held(checkpointing) == pytest.approx(found["held"], rel=0.05)
    assert told.forward == pytest.approx(found["forward"], rel=0.05)
    assert told.gradient_step(checkpointing, True) == pytest.approx(found["step"], rel=0.1)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("pocket", "float32"), ("wan2_2", "bfloat16"), ("wan2_2", "float32"), ("wan2_2_5b", "bfloat16")],
)
def test_the_decoder(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks, in one piece, and without a graph."""
    monkeypatch.setattr(vae_stream.freed_memory, "give_back", lambda: None)
    network, frames, chunk, side = NETWORKS[name], 10, 2, 64 if name == "pocket" else 256
    scale = 16 if network.vae.get("is_residual") else 8
    told = activations.decoder(network, dtype, frames, side * side)
    with torch.device("meta"):
        statistics = {"latents_mean": [0.0] * network.vae["z_dim"], "latents_std": [1.0] * network.vae["z_dim"]}
        vae = WanVae(**network.vae, **statistics).requires_grad_(False)
    with FakeTensorMode(allow_non_fake_inputs=True), Traced() as traced:
        stand_in(vae, wan.DTYPES[dtype])
        latents = torch.randn(1, network.vae["z_dim"], frames, side // scale, side // scale)
        before = traced.start()
        decode = vae_stream.ChunkedDecode(vae, latents, chunk)
        for _, part in decode.frames():
            del part
        decode.pull_back(lambda place, video: torch.full_like(video, 1e-6), lambda place: True)
        assert told.chunked(chunk) == pytest.approx(traced.peak - before, rel=0.1)
        del decode
        before = traced.start()
        with torch.no_grad():
            vae_stream.decode_streamed(vae, latents)
        assert told.rendered(on_gpu=True) == pytest.approx(traced.peak - before, rel=0.1)
        before = traced.start()
        with torch.no_grad():
            vae_sequence.decode(vae, latents)
        assert told.rendered(on_gpu=False) == pytest.approx(traced.peak - before, rel=0.1)
        before = traced.start()
        vae_sequence.decode(vae, latents.requires_grad_(True)).sum().backward()
        assert told.whole() == pytest.approx(traced.peak - before, rel=0.1)
