"""Exported files compute in other tools what the run's own model computes, and say of what they were made."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import lora_files
import original_files
import pytest
import tiny_family
import tiny_wan
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from lora_files import Matrices
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from rewardfl_app.cli.app import main as command_line
from rewardfl_app.config import files, schedule
from rewardfl_app.inference import export as exporting
from rewardfl_app.inference import export_target, session
from rewardfl_app.inference.__main__ import main
from rewardfl_app.models import adaptation, merged_expert, sampling, wan
from rewardfl_app.models.merged_expert import MergedExpert
from rewardfl_app.models.sources import source
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.folder import RunFolder

BOTH = {
    "model": {"trainable_models": "dit,dit2"},
    "lora": {"lora_base_model": "dit,dit2"},
    "sampling": {"mid_timestep": 0},
}
WHOLE = {"lora": {"lora_base_model": "none"}}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_family.make_family(tmp_path_factory.mktemp("family"))


def trained(family: Path, folder: Path, **changes: dict[str, Any]) -> RunFolder:
    """A run with one checkpoint, whose values are random."""
    run = tiny_family.make_run(family, folder / "runs", "trained", **changes)
    config = files.load(run.config)
    model, written = wan.load(config.model), checkpoints.begin(run, 5)
    generator = torch.Generator().manual_seed(2)
    for name in schedule.trained_experts(config):
        made = adaptation.adapt(model.experts[name], config, seed=1)
        values = {
            key: value.detach() + 0.3 * torch.randn(value.shape, generator=generator)
            for key, value in made.named_parameters().items()
        }
        made.save(adaptation.checkpoint_file(written, name), values)
    checkpoints.commit(run, 5, written)
    return run


def export(run: RunFolder, kind: str, out: Path, **more: Any) -> int:
    request = {"run": str(run.path), "checkpoint": "latest", "format": kind, "out": str(out), "licences": ["Terms."]}
    path = run.path / "request.json"
    path.write_text(json.dumps({**request, **more}))
    return main(["export", "--request", str(path)])


@torch.no_grad()
def output(expert: torch.nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x, condition = (torch.randn(1, channels, 2, 4, 4, generator=generator) for channels in (16, 20))
    text = torch.randn(1, 16, 16, generator=generator)
    return sampling.predict_velocity(expert, x, 0.5, text, condition)  # type: ignore[arg-type]


def wanted(run: RunFolder, name: str = "low_noise") -> Tensor:
    """What the run's own model computes with the checkpoint, which is not what the base model does."""
    tuned, base = (output(session.load(run, at).model.experts[name]) for at in ("latest", "base"))  # type: ignore[index]
    assert (tuned - base).abs().max() > 1e-2
    return tuned


def same(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


def header(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as opened:
        return json.loads(opened.metadata()["rewardfl"])


@pytest.mark.parametrize("kind", ["diffusers", "comfyui"])
@pytest.mark.parametrize("alpha", [None, 0.7])
def test_a_lora_loads_in_diffusers(family: Path, tmp_path: Path, kind: str, alpha: float | None) -> None:
    run = trained(family, tmp_path, lora={"lora_rank": 2, "lora_alpha": alpha})
    out = tmp_path / "mine" / "steady.safetensors"
    assert export(run, kind, out) == 0
    assert {path.name for path in out.parent.iterdir()} == {"steady.safetensors", "steady.json"}
    assert json.loads(out.with_suffix(".json").read_text()) == header(out)
    pipe = WanImageToVideoPipeline.from_pretrained(family / "wan")
    pipe.load_lora_weights(out.parent, weight_name=out.name, load_into_transformer_2=True)
    same(output(pipe.transformer_2), wanted(run))
    if kind == "comfyui":
        assert all(key.startswith("diffusion_model.blocks.") for key in load_file(out))


@pytest.mark.parametrize("kind", ["diffusers", "comfyui"])
def test_a_lora_loads_here_as_that_of_a_base_model(family: Path, tmp_path: Path, kind: str) -> None:
    run = trained(family, tmp_path)
    assert export(run, kind, tmp_path / "a.safetensors") == 0
    config = tiny_wan.model_config(family / "wan", low_noise_lora=str(tmp_path / "a.safetensors"))
    same(output(wan.load(config).experts["low_noise"]), wanted(run))


def test_two_experts_are_two_files_with_a_card(family: Path, tmp_path: Path) -> None:
    run, out = trained(family, tmp_path, **BOTH), tmp_path / "mine"
    assert export(run, "diffusers", out) == 0
    pipe = WanImageToVideoPipeline.from_pretrained(family / "wan")
    for name, second in (("transformer", False), ("transformer_2", True)):
        pipe.load_lora_weights(out, weight_name=f"{name}.safetensors", load_into_transformer_2=second)
    same(output(pipe.transformer), wanted(run, "high_noise"))
    same(output(pipe.transformer_2), wanted(run))
    assert {path.name for path in out.iterdir()} == {
        "transformer.safetensors", "transformer_2.safetensors", "README.md", "export.json"}  # fmt: skip
    card = (out / "README.md").read_text()
    assert 'weight_name="transformer_2.safetensors", adapter_name="steady", load_into_transformer_2=True' in card
    assert "base_model: Wan-AI/Wan2.2-I2V-A14B" in card and run.id in card and "* Terms." in card
    assert set(json.loads((out / "export.json").read_text())["files"]) == {
        "transformer.safetensors", "transformer_2.safetensors"}  # fmt: skip
    assert export(run, "comfyui", tmp_path / "comfyui") == 0
    assert (tmp_path / "comfyui" / "high_noise.safetensors").is_file()
    assert (tmp_path / "comfyui" / "low_noise.safetensors").is_file()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("shard_bytes", [10**9, 30_000])
def test_merged_weights_load_in_diffusers(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, shard_bytes: int
) -> None:
    monkeypatch.setattr(exporting, "_SHARD_BYTES", shard_bytes)
    run, out = trained(family, tmp_path, **(WHOLE if whole else {})), tmp_path / "mine"
    assert export(run, "merged", out) == 0
    shards = sorted(path.name for path in out.glob("*.safetensors"))
    assert len(shards) == 1 or shards[0] == f"diffusion_pytorch_model-00001-of-{len(shards):05d}.safetensors"
    assert (
        (len(shards) > 1) == (shard_bytes < 10**9) == (out / "diffusion_pytorch_model.safetensors.index.json").exists()
    )
    loaded = WanTransformer3DModel.from_pretrained(out)
    same(output(loaded), wanted(run))
    assert header(out / shards[0])["trained"] == ("all weights" if whole else {"rank": 2, "alpha": 2,
        "layers": ["q", "k", "v", "o", "ffn.0", "ffn.2"]})  # fmt: skip


@pytest.mark.parametrize("single", [False, True])
def test_merged_weights_in_the_original_layout_load_here(family: Path, tmp_path: Path, single: bool) -> None:
    run = trained(family, tmp_path)
    out = tmp_path / ("mine.safetensors" if single else "mine")
    assert export(run, "merged-original", out) == 0
    base = wan.load(files.load(run.config).model).experts["low_noise"]
    [file] = [out] if single else out.glob("*.safetensors")
    assert set(load_file(file)) == set(original_files.transformer_state(base.state_dict()))
    if single:  # the config.json that single files have none of
        shutil.copytree(out.parent, tmp_path / "beside", ignore=shutil.ignore_patterns("runs"))
        config = merged_expert.released_config(MergedExpert(files.load(run.config), "low_noise", lora_of(run)))
        (tmp_path / "beside" / "config.json").write_text(json.dumps(config))
        out = tmp_path / "beside" / "mine.safetensors"
    else:
        original_files.write_expert(tmp_path / "want", base, 1, "i2v")
        config, want = (json.loads((folder / "config.json").read_text()) for folder in (out, tmp_path / "want"))
        assert config == {key: value for key, value in want.items() if key != "_diffusers_version"}
    same(output(wan.load_expert(source("low_noise_model", [out]))), wanted(run))


def lora_of(run: RunFolder) -> Path:
    return adaptation.checkpoint_file(checkpoints.find(run, 5).path, "low_noise")


def test_weights_merge_from_original_files_and_both_experts_get_a_folder(family: Path, tmp_path: Path) -> None:
    pipe = tiny_wan.pipeline()
    folders = {"high": pipe.transformer, "low": pipe.transformer_2}
    for name, network in folders.items():
        original_files.write_expert(tmp_path / name, network, 2, "i2v")
    listing = tmp_path / "paths.json"
    listing.write_text(json.dumps(["high", "low", str(family / "wan/text_encoder"), str(family / "wan/vae")]))
    run = trained(family, tmp_path, **{**BOTH, "model": {**BOTH["model"], "model_paths": str(listing)}})
    assert export(run, "merged", tmp_path / "diffusers") == 0
    assert export(run, "merged-original", tmp_path / "released") == 0
    for name, theirs, released in (
        ("high_noise", "transformer", "high_noise_model"),
        ("low_noise", "transformer_2", "low_noise_model"),
    ):
        want = wanted(run, name)
        same(output(WanTransformer3DModel.from_pretrained(tmp_path / "diffusers" / theirs)), want)
        same(output(wan.load_expert(source("dit", [tmp_path / "released" / released]))), want)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_base_models_lora_is_in_whole_weights_and_not_in_a_lora(
    family: Path, tmp_path: Path, merged: bool, dtype: str
) -> None:
    file = lora_files.lightx2v(tmp_path, Matrices.of(tiny_wan.transformer()))
    model = {"low_noise_lora": str(file), "fuse_frozen_lora": merged, "frozen_lora_strength": 0.5, "dtype": dtype}
    run = trained(family, tmp_path, model=model)
    want = wanted(run)
    assert export(run, "merged", tmp_path / "whole") == 0
    whole = WanTransformer3DModel.from_pretrained(tmp_path / "whole", torch_dtype=wan.DTYPES[dtype])
    own = dict(wan.load(files.load(run.config).model).experts["low_noise"].named_parameters())
    for name, value in load_file(tmp_path / "whole" / "diffusion_pytorch_model.safetensors").items():
        same_in_base = own.get(name)
        assert same_in_base is None or value.dtype == same_in_base.dtype
    tolerance = 1e-5 if dtype == "float32" else 0.1
    torch.testing.assert_close(output(whole), want, rtol=tolerance, atol=tolerance)
    about = header(tmp_path / "whole" / "diffusion_pytorch_model.safetensors")["base_model"]["lora"]
    assert about["strength"] == 0.5 and about["file"].endswith("/lightx2v.safetensors")
    assert "do not load it again" in (tmp_path / "whole" / "README.md").read_text()
    assert export(run, "diffusers", tmp_path / "lora") == 0
    saved, exported = load_file(lora_of(run)), load_file(tmp_path / "lora" / "transformer_2.safetensors")
    assert set(saved) == set(exported) and all(torch.equal(saved[key], exported[key]) for key in saved)
    assert "load both" in (tmp_path / "lora" / "README.md").read_text()


def test_the_header_says_of_what_it_was_made(family: Path, tmp_path: Path) -> None:
    run = trained(family, tmp_path, lora={"lora_rank": 2, "lora_alpha": 3.0}, train={"ema_decay": 0.9, "seed": 7})
    info = json.loads(run.run_info.read_text())
    run.run_info.write_text(json.dumps({**info, "data": {"data": {"path": "/x/metadata.csv", "sha256": "abc"}}}))
    assert export(run, "comfyui", tmp_path / "a.safetensors") == 0
    about = header(tmp_path / "a.safetensors")
    assert about["run"] == {"id": run.id, "name": "trained", "seed": 7} and about["steps"] == 5
    assert about["trained"] == {"rank": 2, "alpha": 3.0, "layers": ["q", "k", "v", "o", "ffn.0", "ffn.2"]}
    assert about["ema_decay"] == 0.9 and about["data"] == {"metadata_sha256": "abc"}
    [base] = about["base_model"]["files"]
    assert base["file"] == "transformer_2/diffusion_pytorch_model.safetensors" and len(base["sha256"]) == 64
    assert about["reward"]["rewards"] == {"face_similarity": 1.0}
    assert [each["file"].rpartition("/")[2] for each in about["reward"]["face_pack"]] == ["none.onnx"]
    assert about["licences"] == ["Terms."] and str(tmp_path) not in json.dumps(about)


def test_what_is_there_is_replaced_only_when_asked_for_and_only_what_was_exported(
    family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, file = trained(family, tmp_path), tmp_path / "mine", tmp_path / "a.safetensors"
    out.mkdir()
    assert export(run, "diffusers", out) == 0
    before = (out / "README.md").stat().st_ino
    assert export(run, "merged", out) == 2 and "there already: name another place, or give --force" in error(capsys)
    assert (out / "README.md").stat().st_ino == before
    assert export(run, "merged", out, force=True) == 0
    assert (out / "config.json").is_file() and not (out / "transformer_2.safetensors").exists()
    (out / "export.json").unlink()
    assert export(run, "merged", out, force=True) == 2 and "has other things in it" in error(capsys)
    file.write_text("mine")
    assert export(run, "comfyui", file) == 2 and file.read_text() == "mine"
    assert "a.safetensors is there already" in error(capsys)
    assert export(run, "comfyui", file, force=True) == 0 and header(file)
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "mine", "a.safetensors", "a.json"}


def test_what_cannot_be_is_one_sentence(
    family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = trained(family, tmp_path), tmp_path / "mine"
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(export_target.shutil, "disk_usage", lambda path: usage(10**12, 10**12, 10**6))
        assert export(run, "merged", out) == 2 and "are free on the disk of" in error(capsys)
    assert export(run, "merged", tmp_path / "a.safetensors") == 2 and "name a folder" in error(capsys)
    assert export(run, "diffusers", out, checkpoint="9") == 2 and "no complete checkpoint '9'" in error(capsys)
    assert export(run, "gguf", out) == 2 and "none of diffusers" in error(capsys)
    both = trained(family, tmp_path / "both", **BOTH)
    assert export(both, "comfyui", tmp_path / "a.safetensors") == 2 and "two files" in error(capsys)
    whole = trained(family, tmp_path / "whole", **WHOLE)
    assert export(whole, "diffusers", out) == 2 and "there is no LoRA to write as diffusers" in error(capsys)
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_the_network_is_never_in_memory(family: Path, tmp_path: Path) -> None:
    run = trained(family, tmp_path)
    merged = MergedExpert(files.load(run.config), "low_noise", lora_of(run))
    assert all(value.is_meta for value in merged.parameters.values())
    assert merged.num_bytes == sum(value.nbytes for value in merged.parameters.values()) > 0
    assert all(merged.tensor(name).shape == value.shape for name, value in merged.parameters.items())


def test_the_command(family: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = trained(family, tmp_path), tmp_path / "mine" / "steady.safetensors"
    arguments = ["export", run.id, "--runs-dir", str(run.path.parent), "--out", str(out), "--format"]
    assert command_line([*arguments, "comfyui"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert any("Apache-2.0" in licence for licence in header(out)["licences"])
    assert any("non-commercial" in licence for licence in header(out)["licences"])
    assert command_line([*arguments, "diffusers"]) == 2 and "--force" in error(capsys)
    assert command_line([*arguments, "diffusers", "--checkpoint", "best", "--force"]) == 2
    assert "has no best checkpoint" in error(capsys)
