from __future__ import annotations

from pathlib import Path

import pytest
import tiny_wan
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import load_file

from rewardfl_app.config.schema import Config
from rewardfl_app.models import adaptation, sampling, wan
from rewardfl_app.models.adaptation import Adaptation, FullWeights
from rewardfl_app.models.dropout import KeyedDropout, Masks
from rewardfl_app.models.sources import WeightsError

FULL = {"lora_base_model": "none"}


def config_of(saved_pipeline: Path, lora: dict[str, object], **model: object) -> Config:
    return Config(model=tiny_wan.model_config(saved_pipeline, **model), lora={"lora_rank": 3, **lora})


def expert_of(saved_pipeline: Path, **model: object) -> WanTransformer3DModel:
    return wan.load(tiny_wan.model_config(saved_pipeline, **model)).experts["low_noise"]


def velocity(expert: WanTransformer3DModel, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 16, 2, 4, 4, generator=generator)
    condition = torch.randn(batch, 20, 2, 4, 4, generator=generator)
    text = torch.randn(batch, 16, 16, generator=generator)
    return sampling.predict_velocity(expert, x, 0.5, text, condition)


def move(adapted: Adaptation, scale: float = 0.3) -> None:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    adapted.moved = True


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [{}, FULL])
def test_starts_as_the_frozen_network_and_comes_back_to_it(
    saved_pipeline: Path, dtype: str, lora: dict[str, object]
) -> None:
    expert = expert_of(saved_pipeline, dtype=dtype)
    with torch.no_grad():
        want = velocity(expert)
        adapted = adaptation.adapt(expert, config_of(saved_pipeline, lora, dtype=dtype), seed=5)
        assert {parameter.dtype for parameter in adapted.parameters()} == {torch.float32}
        assert torch.equal(velocity(expert), want)
        move(adapted)
        changed = velocity(expert)
        assert (changed - want).abs().max() > 1e-2
        with adapted.base() as network:
            assert network is expert
            assert torch.equal(velocity(expert), want)
        assert torch.equal(velocity(expert), changed)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_weights_get_the_gradient_of_the_plain_network(saved_pipeline: Path, dtype: str) -> None:
    plain = expert_of(saved_pipeline, dtype=dtype).requires_grad_(True)
    velocity(plain).square().sum().backward()
    adapted = adaptation.adapt(
        expert_of(saved_pipeline, dtype=dtype), config_of(saved_pipeline, FULL, dtype=dtype), seed=0
    )
    velocity(adapted.expert).square().sum().backward()
    want = dict(plain.named_parameters())
    assert list(adapted.named_parameters()) == list(want)
    for name, parameter in adapted.named_parameters().items():
        assert parameter.grad is not None and parameter.grad.dtype == torch.float32
        assert torch.equal(parameter.grad, want[name].grad.float()), name  # type: ignore[union-attr]


def test_without_a_divergence_no_copy_is_kept(saved_pipeline: Path) -> None:
    config = config_of(saved_pipeline, FULL).model_copy(update={"reward": Config().reward.model_copy()})
    config = config.model_copy(update={"reward": config.reward.model_copy(update={"kl_weight": 0.0})})
    adapted = adaptation.adapt(expert_of(saved_pipeline), config, seed=0)
    assert adapted.networks == [adapted.expert]
    with adapted.base() as network:
        assert network is adapted.expert
    move(adapted)
    with pytest.raises(RuntimeError, match="no copy"), adapted.base():
        pass


@pytest.mark.parametrize("lora", [{}, FULL])
def test_round_trip_is_exact(saved_pipeline: Path, tmp_path: Path, lora: dict[str, object]) -> None:
    config = config_of(saved_pipeline, lora)
    adapted = adaptation.adapt(expert_of(saved_pipeline), config, seed=5)
    move(adapted)
    adapted.save(tmp_path / "own.safetensors")
    assert list(load_file(tmp_path / "own.safetensors")) == sorted(adapted.named_parameters())
    other = adaptation.adapt(expert_of(saved_pipeline), config, seed=6)
    other.load(tmp_path / "own.safetensors")
    assert other.moved
    for mine, theirs in zip(other.parameters(), adapted.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine.requires_grad
    values = {name: parameter * 2 for name, parameter in adapted.named_parameters().items()}
    adapted.save(tmp_path / "given.safetensors", values)
    restored = expert_of(saved_pipeline)
    adaptation.restore(restored, config, tmp_path / "given.safetensors")
    other.put(values)
    with torch.no_grad():
        assert torch.equal(velocity(restored), velocity(other.expert))


def test_all_weights_load_in_diffusers(saved_pipeline: Path, tmp_path: Path) -> None:
    adapted = adaptation.adapt(expert_of(saved_pipeline), config_of(saved_pipeline, FULL), seed=0)
    move(adapted)
    adapted.expert.save_config(tmp_path)
    adapted.save(tmp_path / "diffusion_pytorch_model.safetensors")
    loaded = WanTransformer3DModel.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(velocity(loaded), velocity(adapted.expert), rtol=1e-5, atol=1e-5)


def test_a_file_of_another_kind_is_refused(saved_pipeline: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    adaptation.adapt(expert_of(saved_pipeline), config_of(saved_pipeline, {}), seed=0).save(path)
    full = adaptation.adapt(expert_of(saved_pipeline), config_of(saved_pipeline, FULL), seed=0)
    with pytest.raises(WeightsError, match="another kind of training"):
        full.load(path)
    with pytest.raises(WeightsError, match="nothing.safetensors"):
        full.load(tmp_path / "nothing.safetensors")
    full.save(path)
    with pytest.raises(WeightsError, match=r"a\.safetensors has an unexpected key|has no key"):
        adaptation.adapt(expert_of(saved_pipeline), config_of(saved_pipeline, {}), seed=0).load(path)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_is_the_same_for_the_same_key(saved_pipeline: Path, checkpointing: bool) -> None:
    config = config_of(saved_pipeline, {"lora_dropout": 0.5}, use_gradient_checkpointing=checkpointing)
    expert = expert_of(saved_pipeline, use_gradient_checkpointing=checkpointing)
    adapted = adaptation.adapt(expert, config, seed=0)
    move(adapted)

    def drawn(*key: int) -> torch.Tensor:
        with adaptation.dropout([adapted], key), torch.no_grad():
            return velocity(expert, batch=2)

    with torch.no_grad():
        plain = velocity(expert, batch=2)
    assert torch.equal(drawn(1, 2), drawn(1, 2))
    assert not torch.equal(drawn(1, 2), drawn(1, 3))
    with torch.no_grad():
        assert torch.equal(velocity(expert, batch=2), plain)
    assert not torch.equal(plain, drawn(1, 2))
    with adaptation.dropout([adapted], (1, 2)):
        v = velocity(expert, batch=2)
    assert torch.equal(v, drawn(1, 2))
    v.square().sum().backward()  # outside: blocks that are run again must see the same masks
    got = [parameter.grad for parameter in adapted.parameters()]
    for parameter in adapted.parameters():
        parameter.grad = None
    with adaptation.dropout([adapted], (1, 2)):
        velocity(expert, batch=2).square().sum().backward()
    for mine, parameter in zip(got, adapted.parameters(), strict=True):
        assert mine is not None and parameter.grad is not None and torch.equal(mine, parameter.grad)


def test_dropout_keeps_the_mean(saved_pipeline: Path) -> None:
    masks = Masks()
    layer = KeyedDropout(0.25, 0, masks)
    with masks.drawn_from((3,)):
        out = layer(torch.ones(40_000))
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.gpu
def test_the_offloaded_copy_is_on_the_device_only_while_it_runs(saved_pipeline: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    model = wan.load(tiny_wan.model_config(saved_pipeline), "cuda")
    config = config_of(saved_pipeline, FULL, offload_reference=True)
    adapted = adaptation.adapt(model.experts["low_noise"], config, seed=0)
    assert isinstance(adapted, FullWeights) and adapted._base is not None and len(adapted.networks) == 1
    copied = list(adapted._base.network.parameters())
    assert {weight.device.type for weight in copied} == {"cpu"}
    with adapted.base():
        assert {weight.device.type for weight in copied} == {"cuda"}
    assert {weight.device.type for weight in copied} == {"cpu"}


def test_untrained_switches_all_off(saved_pipeline: Path) -> None:
    config = config_of(saved_pipeline, FULL)
    adapted = [adaptation.adapt(expert_of(saved_pipeline), config, seed=i) for i in range(2)]
    assert all(isinstance(each, FullWeights) and len(each.networks) == 2 for each in adapted)
    with torch.no_grad():
        want = [velocity(each.expert) for each in adapted]
        for each in adapted:
            move(each)
        with adaptation.untrained(adapted):
            for each, before in zip(adapted, want, strict=True):
                assert torch.equal(velocity(each.expert), before)
