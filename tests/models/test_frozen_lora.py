"""A LoRA of the base model is there in everything the expert computes; what is trained on top comes and goes alone."""

from __future__ import annotations

from pathlib import Path

import lora_files
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from lora_files import Matrices
from safetensors.torch import load_file, save_file
from tiny_wan import model_config

from rewardfl_app.config.schema import Config, ModelConfig
from rewardfl_app.models import adaptation, frozen_lora, lora, sampling, wan
from rewardfl_app.models.adaptation import Adaptation
from rewardfl_app.models.sources import WeightsError

# A file that changes more than the layers that can train, and changes biases, norms and tables whole.
DIFFERENCES = {
    "diffusion_model.blocks.0.self_attn.q.diff_b": (24,),
    "diffusion_model.blocks.1.norm3.diff": (24,),
    "diffusion_model.blocks.1.modulation.diff": (1, 6, 24),
    "diffusion_model.head.head.diff": (64, 24),
    "diffusion_model.time_embedding.0.lora_down.weight": (2, 32),
    "diffusion_model.time_embedding.0.lora_up.weight": (24, 2),
    "diffusion_model.patch_embedding.lora_down.weight": (2, 36, 1, 2, 2),
    "diffusion_model.patch_embedding.lora_up.weight": (24, 2, 1, 1, 1),
}


@pytest.fixture
def matrices(model: wan.WanModel) -> Matrices:
    return Matrices.of(model.experts["low_noise"])


@pytest.fixture
def file(matrices: Matrices, tmp_path: Path) -> Path:
    return lora_files.lightx2v(tmp_path, matrices)


@pytest.fixture
def odd_file(file: Path) -> Path:
    generator = torch.Generator().manual_seed(9)
    more = {key: 0.3 * torch.randn(shape, generator=generator) for key, shape in DIFFERENCES.items()}
    save_file({**load_file(file), **more}, file.parent / "odd.safetensors")
    return file.parent / "odd.safetensors"


def settings(saved_pipeline: Path, path: Path | None, **changes: object) -> ModelConfig:
    return model_config(saved_pipeline, low_noise_lora=None if path is None else str(path), **changes)


def expert_of(saved_pipeline: Path, path: Path | None, **changes: object) -> WanTransformer3DModel:
    return wan.load(settings(saved_pipeline, path, **changes)).experts["low_noise"]


def adapted(saved_pipeline: Path, path: Path, seed: int = 5, **lora_settings: object) -> Adaptation:
    """A kept LoRA, and one to train on top."""
    config = Config(
        model=settings(saved_pipeline, path, fuse_frozen_lora=False), lora={"lora_rank": 3, **lora_settings}
    )
    return adaptation.adapt(wan.load(config.model).experts["low_noise"], config, seed)


def velocity(expert: WanTransformer3DModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x, condition = (torch.randn(1, channels, 2, 4, 4, generator=generator) for channels in (16, 20))
    return sampling.predict_velocity(expert, x, 0.5, torch.randn(1, 16, 16, generator=generator), condition)


def move(made: Adaptation) -> None:
    generator = torch.Generator().manual_seed(2)
    made.put({name: value + 0.3 * torch.randn(value.shape, generator=generator) for name, value in values(made)})


def values(made: Adaptation) -> list[tuple[str, torch.Tensor]]:
    return [(name, parameter.detach()) for name, parameter in made.named_parameters().items()]


@torch.no_grad()
def output(expert: WanTransformer3DModel) -> torch.Tensor:
    return velocity(expert)


@pytest.mark.parametrize("kind", lora_files.FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_weights_are_the_sum_rounded_once(
    saved_pipeline: Path, matrices: Matrices, tmp_path: Path, kind: str, dtype: str
) -> None:
    plain = expert_of(saved_pipeline, None, dtype=dtype)
    path = lora_files.FORMATS[kind](tmp_path, matrices)
    merged = dict(expert_of(saved_pipeline, path, dtype=dtype, frozen_lora_strength=0.7).named_parameters())
    for name, weight in plain.named_parameters():
        layer = name.removesuffix(".weight")
        if layer in matrices.layers:
            want = (weight.float() + 0.7 * matrices.delta(layer)).to(weight.dtype)
            torch.testing.assert_close(merged[name], want, rtol=1e-2 if dtype == "bfloat16" else 1e-6, atol=1e-6)
        else:
            assert torch.equal(merged[name], weight)
        assert merged[name].dtype == weight.dtype and not merged[name].requires_grad


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_kept_computes_what_merged_does(saved_pipeline: Path, odd_file: Path, strength: float) -> None:
    base = output(expert_of(saved_pipeline, None))
    merged = expert_of(saved_pipeline, odd_file, frozen_lora_strength=strength)
    kept = expert_of(saved_pipeline, odd_file, frozen_lora_strength=strength, fuse_frozen_lora=False)
    assert (output(merged) - base).abs().max() > 1e-2
    torch.testing.assert_close(output(kept), output(merged), rtol=1e-4, atol=1e-5)
    assert any(frozen_lora.ADAPTER in name for name, _ in kept.named_parameters())
    assert not any(parameter.requires_grad for parameter in kept.parameters())


@pytest.mark.parametrize("kind", ["diffusers", "lightx2v", "comfyui", "musubi"])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_diffusers_computes_the_same_from_the_same_file(
    saved_pipeline: Path, matrices: Matrices, tmp_path: Path, kind: str, strength: float
) -> None:
    path = lora_files.FORMATS[kind](tmp_path, matrices)
    kept = expert_of(saved_pipeline, path, frozen_lora_strength=strength, fuse_frozen_lora=False)
    pipe = WanImageToVideoPipeline.from_pretrained(saved_pipeline)
    pipe.load_lora_weights(tmp_path, weight_name=path.name, adapter_name="own", load_into_transformer_2=True)
    pipe.transformer_2.set_adapters("own", strength)
    torch.testing.assert_close(output(kept), output(pipe.transformer_2), rtol=1e-5, atol=1e-6)


def test_only_the_expert_that_is_named_changes(saved_pipeline: Path, file: Path) -> None:
    plain, changed = wan.load(settings(saved_pipeline, None)), wan.load(settings(saved_pipeline, file))
    assert torch.equal(output(plain.experts["high_noise"]), output(changed.experts["high_noise"]))
    assert not torch.equal(output(plain.experts["low_noise"]), output(changed.experts["low_noise"]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_trained_starts_as_nothing_and_leaves_the_kept_one(
    saved_pipeline: Path, odd_file: Path, dtype: str
) -> None:
    config = Config(model=settings(saved_pipeline, odd_file, fuse_frozen_lora=False, dtype=dtype))
    expert = wan.load(config.model).experts["low_noise"]
    reference = output(expert)
    assert (output(expert_of(saved_pipeline, None, dtype=dtype)) - reference).abs().max() > 1e-2
    made = adaptation.adapt(expert, config, seed=5)
    assert torch.equal(output(expert), reference), "the divergence is 0 at the start"
    move(made)
    moved = output(expert)
    assert (moved - reference).abs().max() > 1e-2
    with made.base(), adaptation.untrained([made]):
        assert torch.equal(output(expert), reference), "the reference keeps its LoRA"
    assert torch.equal(output(expert), moved)
    lora.set_strength(expert, 0.0)
    assert torch.equal(output(expert), reference)


def test_only_what_is_trained_has_gradients_names_and_a_file(
    saved_pipeline: Path, odd_file: Path, tmp_path: Path
) -> None:
    made = adapted(saved_pipeline, odd_file, lora_target_modules="q,ffn.0")
    move(made)
    names = made.named_parameters()
    assert len(names) == 2 * (2 + 1) * 2 and all(".frozen." not in name for name in names)
    velocity(made.expert).square().sum().backward()
    graded = {name for name, parameter in made.expert.named_parameters() if parameter.grad is not None}
    assert len(graded) == len(names) and all(f".{lora.ADAPTER}." in name for name in graded)
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in names.values() if parameter.grad is not None)
    made.save(tmp_path / "own.safetensors")
    assert set(load_file(tmp_path / "own.safetensors")) == set(names)


def test_a_saved_file_is_the_same_on_a_kept_and_on_a_plain_expert(
    saved_pipeline: Path, file: Path, tmp_path: Path
) -> None:
    """The names, the first values and so the checkpoint do not depend on what the base model has."""
    made = adapted(saved_pipeline, file)
    plain = adaptation.adapt(expert_of(saved_pipeline, None), Config(lora={"lora_rank": 3}), seed=5)
    assert list(made.named_parameters()) == list(plain.named_parameters())
    for mine, theirs in zip(made.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    move(made)
    made.save(tmp_path / "own.safetensors")
    other = adapted(saved_pipeline, file, seed=6)
    other.load(tmp_path / "own.safetensors")
    config = Config(model=settings(saved_pipeline, file, fuse_frozen_lora=False), lora={"lora_rank": 3})
    restored = wan.load(config.model).experts["low_noise"]
    adaptation.restore(restored, config, tmp_path / "own.safetensors")
    assert torch.equal(output(other.expert), output(made.expert))
    assert torch.equal(output(restored), output(made.expert))


def test_taken_off_the_kept_one_is_left_as_it_was(saved_pipeline: Path, odd_file: Path) -> None:
    expert = expert_of(saved_pipeline, odd_file, fuse_frozen_lora=False)
    reference = output(expert)
    for rank in (2, 3):  # as the Playground does with one checkpoint after another
        lora.add(expert, ("q", "ffn.0"), rank=rank, alpha=None, seed=0)
        with torch.no_grad():
            for parameter in lora.trainable_parameters(expert):
                parameter.fill_(0.3)
        assert not torch.equal(output(expert), reference)
        lora.remove(expert)
        assert torch.equal(output(expert), reference)
        assert not any(parameter.requires_grad for parameter in expert.parameters())


def test_dropout_is_on_what_is_trained_alone(saved_pipeline: Path, odd_file: Path) -> None:
    made = adapted(saved_pipeline, odd_file, lora_dropout=0.5, lora_target_modules="q")
    reference = output(made.expert)
    with adaptation.dropout([made], (1, 2)):
        assert torch.equal(output(made.expert), reference), "nothing is trained yet, so nothing is left out"
    move(made)
    plain = output(made.expert)
    with adaptation.dropout([made], (1, 2)):
        dropped = output(made.expert)
        with made.base():
            assert torch.equal(output(made.expert), reference)
    assert not torch.equal(dropped, plain)


def test_all_weights_train_from_the_merged_ones(saved_pipeline: Path, file: Path) -> None:
    config = Config(model=settings(saved_pipeline, file), lora={"lora_base_model": "none"})
    expert = wan.load(config.model).experts["low_noise"]
    reference = output(expert)
    made = adaptation.adapt(expert, config, seed=0)
    assert torch.equal(output(expert), reference)
    move(made)
    with made.base():
        assert torch.equal(output(expert), reference)


def test_what_is_cached_depends_on_the_file_its_strength_and_whether_it_is_merged(
    saved_pipeline: Path, file: Path, odd_file: Path
) -> None:
    plain = wan.load(settings(saved_pipeline, None))
    changed = [
        wan.load(settings(saved_pipeline, path, **changes))
        for path, changes in (
            (file, {}),
            (odd_file, {}),
            (file, {"frozen_lora_strength": 0.5}),
            (file, {"fuse_frozen_lora": False}),
        )
    ]
    digests = {each.digest("low_noise", "vae") for each in (plain, *changed)}
    assert len(digests) == 5
    assert {each.digest("high_noise", "vae", "text_encoder") for each in (plain, *changed)} == {
        plain.digest("high_noise", "vae", "text_encoder")
    }


def test_a_file_of_another_model_is_named(saved_pipeline: Path, file: Path) -> None:
    tensors = load_file(file)
    deeper = {key.replace("blocks.1.", "blocks.7."): value for key, value in tensors.items()}
    save_file(deeper, file.parent / "deep.safetensors")
    with pytest.raises(WeightsError, match=r"model\.low_noise_lora: .*deep.* key .*blocks\.7\..*matches no layer"):
        expert_of(saved_pipeline, file.parent / "deep.safetensors")
    wide = {**tensors, "diffusion_model.blocks.0.ffn.0.lora_down.weight": torch.ones(lora_files.RANK, 32)}
    save_file(wide, file.parent / "wide.safetensors")
    with pytest.raises(WeightsError, match=r"blocks\.0\.ffn\.0\.lora_down\.weight is for .*\[48, 32\].*\[48, 24\]"):
        expert_of(saved_pipeline, file.parent / "wide.safetensors")
