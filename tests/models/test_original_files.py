"""The repositories of Wan2.2 as they were released, in small: every file is read to the very tensors, and what is wrong
in one is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import original_files
import pytest
import tiny_wan
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from rewardfl_app.config.schema import ModelConfig
from rewardfl_app.models import sources, wan
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.models.wan import WanModel
from rewardfl_app.supervisor.command import package_environment

SHARDS = 3


def large_vae() -> AutoencoderKLWan:
    """Wan2.1's VAE with the levels and layers of the released one."""
    return AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2)


def write(folder: Path, name: str) -> tuple[dict[str, torch.nn.Module], ModelConfig]:
    """A repository in small, what it was made from, and the settings that name it."""
    torch.manual_seed(0)
    single = name == "wan2_2_5b"
    made: dict[str, torch.nn.Module] = {"text_encoder": tiny_wan.text_encoder().eval()}
    made["vae"] = vae = (tiny_wan.single_vae() if single else large_vae()).eval()
    text = made["text_encoder"]
    assert isinstance(text, wan.UMT5EncoderModel)
    original_files.write_shared(folder, text, vae, tiny_wan.tokenizer())
    if single:
        made["high_noise"] = expert = tiny_wan.single_transformer().eval()
        # As in the repository, shards and config.json lie beside the other files.
        files = original_files.write_expert(folder, expert, SHARDS, "ti2v")
        listed = {"dit": [file.name for file in files]}
    else:
        made["high_noise"], made["low_noise"] = high, low = tiny_wan.transformer().eval(), tiny_wan.transformer().eval()
        original_files.write_expert(folder / "high_noise_model", high, SHARDS, "i2v")
        original_files.write_expert(folder / "low_noise_model", low, SHARDS, "i2v")
        listed = {"high_noise_model": "high_noise_model", "low_noise_model": "low_noise_model"}
    listed |= {"text_encoder": "models_t5_umt5-xxl-enc-bf16.pth"}
    listed |= {"vae": "Wan2.2_VAE.pth" if single else "Wan2.1_VAE.pth"}
    (folder / "model_paths.json").write_text(json.dumps(listed))
    return made, tiny_wan.model_config(folder, model_name=name, tokenizer_path=str(folder / "google" / "umt5-xxl"))


def network(model: WanModel, name: str) -> torch.nn.Module:
    if name in ("high_noise", "low_noise"):
        return model.experts[name]  # type: ignore[index]
    if name == "vae":
        assert model.vae.encoder is not None
        return model.vae
    return model.text_encoder


@pytest.mark.parametrize("name", ["wan2_2", "wan2_2_5b"])
def test_every_file_is_read_to_the_very_tensors(tmp_path: Path, name: str) -> None:
    made, settings = write(tmp_path, name)
    model = wan.load(settings)
    assert list(model.experts) == [each for each in ("high_noise", "low_noise") if each in made]
    for part, want in made.items():
        loaded = network(model, part)
        expected = want.state_dict()
        assert loaded.state_dict().keys() == expected.keys(), part
        for key, value in loaded.state_dict().items():
            assert torch.equal(value, expected[key]), (part, key)
    config, want_config = model.vae.config, made["vae"].config
    assert {key: config[key] for key in want_config if not key.startswith("_")} == {
        key: value for key, value in want_config.items() if not key.startswith("_")
    }
    # To the last bits alone: where in a file a tensor lies may decide which kernel takes it.
    ids = torch.tensor([[3, 4, 5, 1]])
    assert_close(model.text_encoder(ids)[0], made["text_encoder"](ids)[0])
    expert = made["high_noise"]
    x = torch.randn(1, expert.config["in_channels"], 2, 4, 4)
    inputs = {"hidden_states": x, "timestep": torch.tensor([900.0]), "encoder_hidden_states": torch.randn(1, 5, 16)}
    assert_close(model.experts["high_noise"](**inputs)[0], expert(**inputs)[0])
    latents = torch.randn(1, model.family.channels, 2, 2, 2)
    assert_close(model.vae.decode(latents)[0], made["vae"].decode(latents)[0])


def test_a_list_and_names_in_any_order_mean_the_same(tmp_path: Path) -> None:
    _, settings = write(tmp_path, "wan2_2")
    by_name = sources.resolve(settings)
    listed = json.loads((tmp_path / "model_paths.json").read_text())
    (tmp_path / "model_paths.json").write_text(json.dumps(dict(reversed(listed.items()))))
    assert sources.resolve(settings) == by_name
    (tmp_path / "model_paths.json").write_text(json.dumps(list(listed.values())))
    assert sources.resolve(settings) == by_name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda listed: listed.pop("vae"), "has no vae"),
        (lambda listed: listed.update(clip="x"), "has another name"),
        (lambda listed: listed.update(dit=listed.pop("low_noise_model")), "has another name"),
        (lambda listed: listed.update(vae=3), "entry vae"),
        (lambda listed: listed.update(vae=[]), "vae: no file is named"),
    ],
)
def test_a_wrong_listing_is_told(tmp_path: Path, change: Callable[[dict[str, object]], object], told: str) -> None:
    _, settings = write(tmp_path, "wan2_2")
    listed = json.loads((tmp_path / "model_paths.json").read_text())
    change(listed)
    (tmp_path / "model_paths.json").write_text(json.dumps(listed))
    with pytest.raises(WeightsError, match=told):
        sources.resolve(settings)


def _rename(state: dict[str, torch.Tensor], old: str, new: str) -> None:
    state[new] = state.pop(old)


CHANGES: dict[str, tuple[Callable[[dict[str, torch.Tensor], str], object], str]] = {
    "missing": (lambda state, key: state.pop(key), "has no key"),
    "extra": (lambda state, key: state.update({f"{key}_2": torch.zeros(1)}), "has the key"),
    "renamed": (lambda state, key: _rename(state, key, key.replace("weight", "wieght")), "has no key"),
    "shape": (lambda state, key: state.update({key: torch.zeros(2, 3, 5)}), "has the shape"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("name", "file", "part", "key", "ours"),
    [
        ("wan2_2", "low_noise_model/*-00001-of-*", "low_noise", None, "blocks"),
        ("wan2_2_5b", "*-00001-of-*.safetensors", "high_noise", None, "blocks"),
        ("wan2_2", "models_t5*", "text_encoder", "blocks.1.attn.k.weight", "encoder.block.1.layer.0.SelfAttention.k"),
        ("wan2_2", "Wan2.1_VAE.pth", "vae", "decoder.upsamples.4.residual.2.weight", "decoder.up_blocks.1.resnets.0"),
        ("wan2_2_5b", "Wan2.2_VAE.pth", "vae", "encoder.downsamples.1.downsamples.0.shortcut.weight",
         "encoder.down_blocks.1.resnets.0.conv_shortcut"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named(
    tmp_path: Path, name: str, file: str, part: str, key: str | None, ours: str, change: str
) -> None:
    _, settings = write(tmp_path, name)
    path = next(tmp_path.glob(file))
    safe = path.suffix == ".safetensors"
    state = load_file(path) if safe else torch.load(path, weights_only=True)
    key = key or next(each for each in sorted(state) if each.endswith("ffn.0.weight") or each.endswith("q.weight"))
    apply, told = CHANGES[change]
    apply(state, key)
    save_file(state, path) if safe else torch.save(state, path)
    with pytest.raises(WeightsError, match=f"{told}.*({ours}|{key})|({ours}).*{told}") as failure:
        network(wan.load(settings), part)
    assert str(path if not safe else path.parent) in str(failure.value)


def test_a_key_that_two_shards_hold_is_named(tmp_path: Path) -> None:
    _, settings = write(tmp_path, "wan2_2")
    first, second = sorted((tmp_path / "high_noise_model").glob("*.safetensors"))[:2]
    key = sorted(load_file(first))[0]
    save_file({**load_file(second), key: load_file(first)[key]}, second)
    with pytest.raises(WeightsError, match=f"{second.name} has the key {key}.*another"):
        _ = wan.load(settings).experts["high_noise"]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    _, settings = write(tmp_path, "wan2_2")
    gone = sorted((tmp_path / "high_noise_model").glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(WeightsError, match=gone.name):
        wan.load(settings)


def test_files_of_the_other_model_are_told(tmp_path: Path) -> None:
    _, one = write(tmp_path / "one", "wan2_2_5b")
    _, two = write(tmp_path / "two", "wan2_2")
    listed = json.loads((tmp_path / "two" / "model_paths.json").read_text())
    listed["vae"] = str(tmp_path / "one" / "Wan2.2_VAE.pth")
    (tmp_path / "two" / "model_paths.json").write_text(json.dumps(listed))
    with pytest.raises(WeightsError, match="48 latent channels, each for 16 x 16 pixels.*of another model"):
        _ = wan.load(two).vae
    listed = json.loads((tmp_path / "one" / "model_paths.json").read_text())
    listed["dit"] = str(tmp_path / "two" / "low_noise_model")
    (tmp_path / "one" / "model_paths.json").write_text(json.dumps(listed))
    with pytest.raises(WeightsError, match="takes 36 channels, that of Wan2.2-TI2V-5B takes 48"):
        _ = wan.load(one).experts["high_noise"]


_READ = """
import sys
from pathlib import Path
import torch
from rewardfl_app.models import sources, wan

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

import threading
peak, over = [0.0], threading.Event()

def watch():
    while not over.wait(0.002):
        peak[0] = max(peak[0], anonymous())

wan.load_expert(sources.source("high_noise_model", [Path(sys.argv[1])]), torch.bfloat16)  # what reading itself needs
before = anonymous()
thread = threading.Thread(target=watch)
thread.start()
expert = wan.load_expert(sources.source("high_noise_model", [Path(sys.argv[2])]), torch.bfloat16)
over.set()
thread.join()
weights = sum(p.numel() * p.element_size() for p in expert.parameters()) / 2**20
print(weights, peak[0] - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted by the system's own account")
def test_reading_takes_the_memory_of_the_weights_and_no_second_copy(tmp_path: Path) -> None:
    original_files.write_expert(tmp_path / "small", tiny_wan.transformer(), SHARDS, "i2v")
    large = wan.WanTransformer3DModel(
        num_attention_heads=4, attention_head_dim=128, in_channels=36, out_channels=16, text_dim=64, freq_dim=64,
        ffn_dim=2048, num_layers=12,
    )  # fmt: skip
    original_files.write_expert(tmp_path / "large", large, SHARDS, "i2v")
    argv = [sys.executable, "-c", _READ, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(argv, env=package_environment(), capture_output=True, text=True, timeout=300, check=True)
    weights, added = map(float, done.stdout.split())
    assert weights > 90 and added < 1.15 * weights, (weights, added)
