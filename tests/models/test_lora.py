from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from tiny_wan import model_config

from rewardfl_app.models import lora, wan
from rewardfl_app.models.lora_linear import LoraLinear
from rewardfl_app.models.sources import WeightsError

TARGETS = ("q", "k", "v", "o", "ffn.0", "ffn.2")


def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(1, 36, 2, 4, 4, generator=generator),
        "timestep": torch.tensor([500.0]),
        "encoder_hidden_states": torch.randn(1, 16, 16, generator=generator),
    }


@torch.no_grad()
def forward(expert: torch.nn.Module) -> torch.Tensor:
    return expert(**inputs(), return_dict=False)[0]


def randomise(expert: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in lora.trainable_parameters(expert):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def test_only_the_lora_trains_and_it_starts_as_nothing(model: wan.WanModel) -> None:
    expert = model.experts["low_noise"]
    base = forward(expert)
    lora.add(expert, TARGETS, rank=3, alpha=None, seed=5)
    assert torch.equal(forward(expert), base)
    trained = {name for name, parameter in expert.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in trained)
    # two blocks x (four projections of two attentions + two feed-forward layers) x (A, B)
    assert len(trained) == 2 * (2 * 4 + 2) * 2
    assert sum(isinstance(layer, LoraLinear) for layer in expert.modules()) == 2 * (2 * 4 + 2)


def test_disabled_is_the_base_exactly(model: wan.WanModel) -> None:
    expert = model.experts["low_noise"]
    base = forward(expert)
    lora.add(expert, TARGETS, rank=3, alpha=None, seed=5)
    randomise(expert)
    changed = forward(expert)
    assert (changed - base).abs().max() > 1e-3
    with lora.disabled([expert]):
        assert torch.equal(forward(expert), base)
        assert all(parameter.requires_grad for parameter in lora.trainable_parameters(expert))
    assert torch.equal(forward(expert), changed)


@pytest.mark.parametrize("alpha", [None, 1.5])
def test_diffusers_loads_the_saved_file(
    model: wan.WanModel, saved_pipeline: Path, tmp_path: Path, alpha: float | None
) -> None:
    expert = model.experts["low_noise"]
    lora.add(expert, TARGETS, rank=3, alpha=alpha, seed=5)
    randomise(expert)
    lora.save(expert, tmp_path / "low_noise.safetensors")
    pipe = WanImageToVideoPipeline.from_pretrained(saved_pipeline)
    pipe.load_lora_weights(tmp_path, weight_name="low_noise.safetensors", load_into_transformer_2=True)
    # To rounding: diffusers leaves the weights wherever they lie in the file (see weights.fill).
    torch.testing.assert_close(forward(pipe.transformer_2), forward(expert), rtol=1e-5, atol=1e-5)
    pipe.disable_lora()
    with lora.disabled([expert]):
        torch.testing.assert_close(forward(pipe.transformer_2), forward(expert), rtol=1e-5, atol=1e-5)


def test_round_trip_is_exact(model: wan.WanModel, saved_pipeline: Path, tmp_path: Path) -> None:
    expert = model.experts["low_noise"]
    lora.add(expert, TARGETS, rank=3, alpha=None, seed=5)
    randomise(expert)
    lora.save(expert, tmp_path / "a.safetensors")
    other = wan.load(model_config(saved_pipeline)).experts["low_noise"]
    lora.add(other, TARGETS, rank=3, alpha=None, seed=6)
    lora.load(other, tmp_path / "a.safetensors")
    for mine, theirs in zip(lora.trainable_parameters(other), lora.trainable_parameters(expert), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.requires_grad


def test_another_rank_or_file_is_refused(model: wan.WanModel, saved_pipeline: Path, tmp_path: Path) -> None:
    expert = model.experts["low_noise"]
    lora.add(expert, TARGETS, rank=3, alpha=None, seed=5)
    lora.save(expert, tmp_path / "a.safetensors")
    other = wan.load(model_config(saved_pipeline)).experts["low_noise"]
    lora.add(other, TARGETS, rank=4, alpha=None, seed=5)
    with pytest.raises(WeightsError, match="lora_rank"):
        lora.load(other, tmp_path / "a.safetensors")
    third = wan.load(model_config(saved_pipeline)).experts["low_noise"]
    lora.add(third, ("q",), rank=3, alpha=None, seed=5)
    with pytest.raises(WeightsError, match="lora_target_modules"):
        lora.load(third, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="nothing.safetensors"):
        lora.load(expert, tmp_path / "nothing.safetensors")


def test_bfloat16_base_with_float32_lora(saved_pipeline: Path) -> None:
    expert = wan.load(model_config(saved_pipeline, dtype="bfloat16")).experts["low_noise"]
    lora.add(expert, TARGETS, rank=3, alpha=None, seed=5)
    randomise(expert)
    assert {parameter.dtype for parameter in lora.trainable_parameters(expert)} == {torch.float32}
    batch = {key: value.bfloat16() for key, value in inputs().items()}
    assert expert(**batch, return_dict=False)[0].dtype == torch.bfloat16
