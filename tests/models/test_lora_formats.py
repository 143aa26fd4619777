"""LoRA files of every format say the same, and a file that says nothing, or something else, is refused by name."""

from __future__ import annotations

from pathlib import Path

import lora_files
import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_wan_lora_to_diffusers
from lora_files import ALPHA, RANK, Matrices
from original_files import transformer_state
from safetensors.torch import load_file, save_file

from rewardfl_app.models import lora_formats, wan, wan_names
from rewardfl_app.models.frozen_lora import FrozenLora
from rewardfl_app.models.lora_formats import LoraTensors
from rewardfl_app.models.sources import WeightsError


@pytest.fixture
def matrices(model: wan.WanModel) -> Matrices:
    return Matrices.of(model.experts["low_noise"])


def read(path: Path) -> LoraTensors:
    return FrozenLora("low_noise", path, 1.0, merged=True).read()


@pytest.mark.parametrize("kind", lora_files.FORMATS)
def test_every_format_gives_the_same_layers(kind: str, matrices: Matrices, tmp_path: Path) -> None:
    found = read(lora_files.FORMATS[kind](tmp_path, matrices))
    assert set(found.layers) == set(matrices.layers) and not found.differences
    for layer, low in found.layers.items():
        assert low.rank == RANK and low.scale == ALPHA / RANK
        torch.testing.assert_close(low.product(), matrices.delta(layer))


@pytest.mark.parametrize("name", ["transformer.", "diffusion_model.", "base_model.model.", ""])
def test_without_an_alpha_the_product_is_added_as_it_is(name: str, matrices: Matrices) -> None:
    tensors = {}
    for layer, (up, down) in matrices.layers.items():
        tensors |= {f"{name}{layer}.lora_A.default.weight": down, f"{name}{layer}.lora_B.default.weight": up}
    found = lora_formats.read(tensors, "a file")
    assert set(found.layers) == set(matrices.layers)
    assert {low.scale for low in found.layers.values()} == {1.0}


def test_a_file_for_both_experts_gives_each_its_own(model: wan.WanModel) -> None:
    one, other = (Matrices.of(model.experts["low_noise"], seed=seed) for seed in (0, 1))
    tensors = {}
    for prefix, of in (("transformer.", one), ("transformer_2.", other)):
        for layer, (up, down) in of.layers.items():
            tensors |= {f"{prefix}{layer}.lora_A.weight": down, f"{prefix}{layer}.lora_B.weight": up}
    for own, of in (("transformer.", one), ("transformer_2.", other)):
        found = lora_formats.read(tensors, "a file", own)
        assert all(torch.equal(low.up, of.layers[layer][0]) for layer, low in found.layers.items())


def test_full_differences_are_of_the_parameters_they_name() -> None:
    tensors = {
        "diffusion_model.head.head.diff": torch.ones(64, 24),
        "diffusion_model.head.head.diff_b": torch.ones(64),
        "diffusion_model.blocks.1.modulation.diff": torch.ones(1, 6, 24),
        "diffusion_model.blocks.0.norm3.diff_b": torch.ones(24),
        "diffusion_model.blocks.0.self_attn.norm_k.diff": torch.ones(24),
        "diffusion_model.patch_embedding.diff": torch.ones(24, 36, 1, 2, 2),
    }
    found = lora_formats.read(tensors, "a file")
    assert found.changed() == [
        "blocks.0.attn1.norm_k.weight",
        "blocks.0.norm2.bias",
        "blocks.1.scale_shift_table",
        "patch_embedding.weight",
        "proj_out.bias",
        "proj_out.weight",
    ]


def test_a_bias_in_the_up_matrix_is_scaled_like_it(matrices: Matrices, tmp_path: Path) -> None:
    path = lora_files.diffusers(tmp_path, matrices)
    tensors = {**load_file(path), "transformer.blocks.0.attn1.to_q.lora_B.bias": torch.ones(24)}
    found = lora_formats.read(tensors, "a file", settings={"lora_alpha": ALPHA})
    bias = found.add_to("blocks.0.attn1.to_q.bias", torch.zeros(24), strength=2.0)
    assert torch.equal(bias, torch.full((24,), 2 * ALPHA / RANK))


def test_peft_settings_decide_the_scale(matrices: Matrices) -> None:
    tensors = {f"{layer}.lora_A.weight": pair[1] for layer, pair in matrices.layers.items()}
    tensors |= {f"{layer}.lora_B.weight": pair[0] for layer, pair in matrices.layers.items()}
    settings = {"lora_alpha": 6, "alpha_pattern": {"ffn.net.2": 12}, "use_rslora": True}
    layers = lora_formats.read(tensors, "a file", settings=settings).layers
    assert layers["blocks.0.attn1.to_q"].scale == pytest.approx(6 / RANK**0.5)
    assert layers["blocks.1.ffn.net.2"].scale == pytest.approx(12 / RANK**0.5)


@pytest.mark.parametrize("key", ["transformer.blocks.0.attn1.to_q.dora_scale", "text_model.weight"])
def test_what_belongs_to_no_lora_is_named(key: str, matrices: Matrices, tmp_path: Path) -> None:
    tensors = {**load_file(lora_files.diffusers(tmp_path, matrices)), key: torch.ones(2)}
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=rf"model\.low_noise_lora: .*odd\.safetensors has the key {key}"):
        read(tmp_path / "odd.safetensors")


def test_half_a_layer_and_matrices_that_do_not_fit_are_named(matrices: Matrices, tmp_path: Path) -> None:
    whole = load_file(lora_files.lightx2v(tmp_path, matrices))
    up = "diffusion_model.blocks.0.self_attn.q.lora_up.weight"
    with pytest.raises(WeightsError, match=r"self_attn\.q\.lora_down\.weight without"):
        lora_formats.read({key: value for key, value in whole.items() if key != up}, "a file")
    with pytest.raises(WeightsError, match=r"lora_down\.weight has the shape \[3, 24\].*\[24, 2\]"):
        lora_formats.read({**whole, up: torch.ones(24, 2)}, "a file")
    alone = {"diffusion_model.blocks.0.self_attn.q.alpha": torch.tensor(1.0)}
    with pytest.raises(WeightsError, match="no layer of a LoRA"):
        lora_formats.read(alone, "a file")


def test_a_truncated_file_is_one_sentence(matrices: Matrices, tmp_path: Path) -> None:
    path = lora_files.diffusers(tmp_path, matrices)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"low_noise_lora: .*diffusers\.safetensors is missing, truncated"):
        read(path)


def test_both_writers_are_read_back(matrices: Matrices, tmp_path: Path) -> None:
    layers = read(lora_files.musubi(tmp_path, matrices)).layers
    comfyui = lora_formats.to_comfyui(layers)
    for tensors, settings in ((comfyui, None), (lora_formats.to_diffusers(layers), {"lora_alpha": ALPHA})):
        again = lora_formats.read(tensors, "a file", settings=settings).layers
        assert set(again) == set(layers)
        for layer, low in again.items():
            assert torch.equal(low.product(), layers[layer].product())
    converted = _convert_non_diffusers_wan_lora_to_diffusers(dict(comfyui))
    for layer in layers:
        up, down = (converted[f"transformer.{layer}.lora_{side}.weight"] for side in "BA")
        torch.testing.assert_close(up @ down, matrices.delta(layer))


def test_names_are_those_of_the_release(model: wan.WanModel) -> None:
    state = model.experts["low_noise"].state_dict()
    for ours, theirs in zip(state, transformer_state(state), strict=True):
        assert wan_names.to_wan(ours) == theirs
        layer = ours.removesuffix(".weight").removesuffix(".bias")
        assert wan_names.to_diffusers(wan_names.to_wan(layer)) == layer
        assert wan_names.from_flat(wan_names.to_wan(layer).replace(".", "_")) == layer
        assert wan_names.from_flat(layer.replace(".", "_")) == layer
