from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path

import original_files
import pytest
import torch
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from safetensors.torch import load_file, save_file
from tiny_wan import model_config

from rewardfl_app.config.schema import ModelConfig
from rewardfl_app.models import conditioning, sources, vae_sequence, wan
from rewardfl_app.models.sources import WeightsError, source


def assert_same_weights(loaded: torch.nn.Module, want: torch.nn.Module) -> None:
    expected = want.state_dict()
    assert set(loaded.state_dict()) == set(expected)
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, expected[key].to(value.dtype)), key


def test_loads_what_diffusers_loads(saved_pipeline: Path) -> None:
    model = wan.load(model_config(saved_pipeline))
    reference = WanImageToVideoPipeline.from_pretrained(saved_pipeline)
    assert_same_weights(model.experts["high_noise"], reference.transformer)
    assert_same_weights(model.experts["low_noise"], reference.transformer_2)
    assert model.vae.encoder is not None
    assert_same_weights(model.vae, reference.vae)
    assert_same_weights(model.text_encoder, reference.text_encoder)
    assert model.max_sequence_length == 16
    assert not any(parameter.requires_grad for parameter in model.experts["low_noise"].parameters())


def test_weights_begin_where_pytorch_would_put_them(saved_pipeline: Path, tmp_path: Path) -> None:
    """Else a copy of a network would differ from it in the last bit of its output on some processors."""
    folder = tmp_path / "moved"
    folder.mkdir()
    (folder / "config.json").write_bytes((saved_pipeline / "transformer" / "config.json").read_bytes())
    state = load_file(saved_pipeline / "transformer" / "diffusion_pytorch_model.safetensors")
    for length in range(8):  # of the header, and so of where the weights lie in the file
        save_file(state, folder / "diffusion_pytorch_model.safetensors", {"padding": 8 * length * "x"})
        expert = wan.load_expert(source("high_noise_model", [folder]))
        assert {parameter.data_ptr() % 64 for parameter in expert.parameters()} == {0}


def test_a_network_is_read_when_it_is_first_used(saved_pipeline: Path) -> None:
    model = wan.load(model_config(saved_pipeline))
    assert not model.resident
    assert list(model.experts) == ["high_noise", "low_noise"] and len(model.experts) == 2 and not model.resident
    latents, video = torch.randn(1, 16, 2, 4, 4), torch.rand(1, 3, 5, 32, 32)
    vae_sequence.decode(model.vae, latents)
    assert model.resident == {"vae"}
    vae_sequence.encode(model.vae, video)
    assert model.resident == {"vae", "vae_encoder"}
    conditioning.encode_prompts(model, ["a man"])
    assert model.experts["low_noise"] is model.experts["low_noise"]
    assert model.resident == {"vae", "vae_encoder", "text_encoder", "low_noise"}
    with pytest.raises(KeyError):
        _ = model.experts["middle"]  # type: ignore[index]


def test_what_was_let_go_comes_back_the_same(saved_pipeline: Path) -> None:
    model = wan.load(model_config(saved_pipeline))
    latents, video = torch.randn(1, 16, 2, 4, 4), torch.rand(1, 3, 5, 32, 32)

    def results() -> list[torch.Tensor]:
        encoded = vae_sequence.encode(model.vae, video)
        return [encoded, vae_sequence.decode(model.vae, latents), conditioning.encode_prompts(model, ["a man"])]

    before, vae = results(), model.vae
    model.release("text_encoder", "vae_encoder", "high_noise")
    assert model.resident == {"vae"} and model.vae is vae
    assert not [name for name, _ in vae.named_parameters() if name.startswith(("encoder", "quant_conv"))]
    assert all(torch.equal(one, two) for one, two in zip(before, results(), strict=True))
    model.release("vae")
    assert not model.resident & {"vae", "vae_encoder"}
    assert all(torch.equal(one, two) for one, two in zip(before, results(), strict=True))


def test_the_memory_of_what_was_let_go_is_free(saved_pipeline: Path) -> None:
    model = wan.load(model_config(saved_pipeline))
    networks = [model.experts["high_noise"], model.text_encoder, model.vae.encoder]
    left = [weakref.ref(parameter) for network in networks for parameter in network.parameters()]
    del networks
    model.release("high_noise", "text_encoder", "vae_encoder")
    assert not [parameter for parameter in left if parameter() is not None]


def test_a_network_that_trains_is_kept(saved_pipeline: Path) -> None:
    model = wan.load(model_config(saved_pipeline))
    model.experts["low_noise"].proj_out.weight.requires_grad_(True)
    with pytest.raises(ValueError, match="low_noise expert trains"):
        model.release("low_noise")
    assert "low_noise" in model.resident


def test_a_digest_follows_the_files_and_the_number_format(pipeline_folder: Path) -> None:
    def digests(**changes: object) -> list[str]:
        model = wan.load(model_config(pipeline_folder, **changes))
        return [model.digest(name) for name in ("high_noise", "low_noise", "vae_encoder", "text_encoder", "tokenizer")]

    first = digests()
    assert first == digests() and len(set(first)) == 5
    assert not set(first) & set(digests(dtype="bfloat16"))
    file = pipeline_folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["quant_conv.bias"][0] += 1
    save_file(tensors, file, {"format": "pt"})
    assert [old == new for old, new in zip(first, digests(), strict=True)] == [True, True, False, True, True]


def test_half_precision_files_become_float32(pipeline_folder: Path) -> None:
    file = pipeline_folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file({key: value.half() for key, value in load_file(file).items()}, file, {"format": "pt"})
    model = wan.load(model_config(pipeline_folder))
    assert {parameter.dtype for parameter in model.vae.parameters()} == {torch.float32}


def test_bfloat16_keeps_the_sensitive_parts_in_float32(saved_pipeline: Path) -> None:
    expert = wan.load(model_config(saved_pipeline, dtype="bfloat16")).experts["low_noise"]
    reference = WanImageToVideoPipeline.from_pretrained(saved_pipeline, torch_dtype=torch.bfloat16).transformer_2
    for (name, mine), theirs in zip(expert.named_parameters(), reference.parameters(), strict=True):
        assert mine.dtype == theirs.dtype, name


def test_original_wan_keys_in_shards_and_single_files(pipeline_folder: Path) -> None:
    want = wan.load(model_config(pipeline_folder))
    folder = pipeline_folder / "original"
    folder.mkdir()
    tensors = original_files.transformer_state(
        load_file(pipeline_folder / "transformer_2" / "diffusion_pytorch_model.safetensors")
    )
    names = sorted(tensors)
    save_file({key: tensors[key] for key in names[::2]}, folder / "part-1.safetensors")
    save_file({key: tensors[key] for key in names[1::2]}, folder / "part-2.safetensors")
    # Wan's own config.json, which the head count is read from (24 wide is not a multiple of the released 128)
    (folder / "config.json").write_text(json.dumps({"model_type": "i2v", "num_heads": 2, "eps": 1e-6}))
    loaded = wan.load_expert(
        sources.source("low_noise_model", [folder / "part-1.safetensors", folder / "part-2.safetensors"])
    )
    assert_same_weights(loaded, want.experts["low_noise"])
    assert loaded.config.num_layers == 2 and loaded.config.attention_head_dim == 12


def test_original_text_encoder(pipeline_folder: Path) -> None:
    want = wan.load(model_config(pipeline_folder)).text_encoder
    renamed = original_files.text_encoder_state(want.state_dict())
    file = pipeline_folder / "models_t5.pth"
    torch.save(renamed, file)
    loaded = wan.load_text_encoder(sources.source("text_encoder", [file]))
    ids = torch.tensor([[3, 4, 5, 1]])
    assert torch.equal(loaded(ids).last_hidden_state, want(ids).last_hidden_state)


def test_shards_with_an_index(pipeline_folder: Path) -> None:
    want = wan.load(model_config(pipeline_folder)).experts["high_noise"]
    shutil.rmtree(pipeline_folder / "transformer")
    want.save_pretrained(pipeline_folder / "transformer", max_shard_size="20KB")
    assert len(list((pipeline_folder / "transformer").glob("*.safetensors"))) > 1
    assert_same_weights(wan.load(model_config(pipeline_folder)).experts["high_noise"], want)
    shard = sorted((pipeline_folder / "transformer").glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(WeightsError, match=shard.name):
        wan.load(model_config(pipeline_folder))


def test_a_truncated_file_is_named(pipeline_folder: Path) -> None:
    file = pipeline_folder / "transformer_2" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=f"low_noise_model.*{file}.*truncated"):
        wan.load(model_config(pipeline_folder))


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_a_wrong_key_is_named(pipeline_folder: Path, change: str) -> None:
    file = pipeline_folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    if change == "missing":
        del tensors["decoder.conv_in.weight"]
    elif change == "extra":
        tensors["decoder.conv_in.weight_2"] = torch.zeros(1)
    else:
        tensors["decoder.conv_in.weight"] = torch.zeros(1, 2)
    save_file(tensors, file)
    with pytest.raises(WeightsError, match="vae.*decoder.conv_in.weight"):
        _ = wan.load(model_config(pipeline_folder)).vae


def test_text_to_video_weights_are_refused(pipeline_folder: Path) -> None:
    expert = wan.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=16,
        freq_dim=32,
        ffn_dim=48,
        num_layers=1,
        rope_max_seq_len=32,
    )
    expert.save_pretrained(pipeline_folder / "transformer")
    with pytest.raises(WeightsError, match="takes 16 channels"):
        _ = wan.load(model_config(pipeline_folder)).experts["high_noise"]


@pytest.mark.parametrize("text", ["{}", "[]", "not json", '["a", "b", "c", 4]'])
def test_bad_model_paths(tmp_path: Path, text: str) -> None:
    path = tmp_path / "paths.json"
    path.write_text(text)
    with pytest.raises(WeightsError, match="paths.json"):
        sources.resolve(ModelConfig(model_paths=str(path)))


def test_missing_entry_is_named(pipeline_folder: Path) -> None:
    shutil.rmtree(pipeline_folder / "vae")
    with pytest.raises(WeightsError, match="vae: .*does not exist"):
        wan.load(model_config(pipeline_folder))


def test_entries_of_the_hub_cache(pipeline_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub"
    repo = cache / "models--Lab--Tiny-Wan"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc123")
    shutil.copytree(pipeline_folder, repo / "snapshots" / "abc123")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    entries = ",".join(
        f"Lab/Tiny-Wan:{folder}/*.safetensors" for folder in ("transformer", "transformer_2", "text_encoder", "vae")
    )
    found = sources.resolve(ModelConfig(model_id_with_origin_paths=entries, tokenizer_path="x"))
    assert found.vae.files[0].is_file() and found.vae.config is not None
    with pytest.raises(WeightsError, match="Lab/Other"):
        sources.resolve(ModelConfig(model_id_with_origin_paths=entries.replace("Lab/Tiny-Wan:vae", "Lab/Other:vae")))
