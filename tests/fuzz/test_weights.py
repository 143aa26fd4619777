"""Weight files of every format, LoRAs, lists of files and checkpoint folders, damaged: only WeightsError comes out."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import hostile
import pytest
import tiny_wan
import torch
from budget import Tally, drawn
from damage import Cut, cuts, damaged
from guard import guarded
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from rewardfl_app.config.schema import ModelConfig
from rewardfl_app.models import adaptation, lora, sources, wan, weights
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.pocket import paths
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import preflight
from rewardfl_app.training import checkpointing
from rewardfl_app.ui import run_details

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny transformer: its weights and config.json."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_wan.transformer(1).save_pretrained(folder)
    wan.load_expert(sources.source("high_noise_model", [folder]))
    return folder


def look(path: Path) -> None:
    """Everything that reads a file of weights; only WeightsError may come out."""
    for load in (wan.load_expert, wan.load_vae, wan.load_text_encoder, weights.check):
        with contextlib.suppress(WeightsError):
            load(sources.source("vae", [path]))
    list(preflight._flaw(path))
    run_details._metadata(path)


@pytest.mark.parametrize("kind", hostile.ODD_FILES)
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "config.json", "model.safetensors.index.json"])
def test_weights_that_are_no_file(name: str, kind: str, expert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(expert, tmp_path / "folder"))
    path = folder / name
    hostile.remove(path)
    hostile.ODD_FILES[kind](path)
    with guarded(tmp_path):
        if path.suffix != ".json":
            look(path)
            if not path.is_dir():
                with pytest.raises(WeightsError, match=name):
                    weights.read_state(sources.source("vae", [path]))
        look(folder)


def test_texts_that_are_no_weights(expert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(expert, tmp_path / "folder"))
    for name in ("a.safetensors", "a.pth", "config.json", "diffusion_pytorch_model.safetensors.index.json"):
        for text in hostile.TEXTS:
            path = folder / name
            kept = path.read_bytes() if path.exists() else None
            path.write_bytes(text)
            with guarded(tmp_path):
                look(folder if path.suffix == ".json" else path)
            path.unlink()
            if kept is not None:
                path.write_bytes(kept)


def test_every_field_of_a_config_and_an_index_hostile(expert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(expert, tmp_path / "folder"))
    config = json.loads((folder / "config.json").read_text())
    for _, text in hostile.json_variants(config):
        (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        with guarded(tmp_path), contextlib.suppress(WeightsError):
            wan.load_expert(sources.source("vae", [folder]))
    index = {"metadata": {}, "weight_map": {"a": "diffusion_pytorch_model.safetensors", "b": "other.safetensors"}}
    (folder / "config.json").write_text(json.dumps(config))
    for _, text in hostile.json_variants(index):
        (folder / "x.safetensors.index.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        with guarded(tmp_path), contextlib.suppress(WeightsError):
            wan.load_expert(sources.source("vae", [folder]))


def test_damaged_safetensors(expert: Path, tmp_path: Path) -> None:
    whole, ran = _small(tmp_path / "whole.safetensors"), Tally("safetensors")
    path, network = tmp_path / "a.safetensors", tiny_wan.transformer(1)
    lora.add(network, ("q",), 2, 2.0, seed=0)

    @drawn("safetensors")
    @given(cuts(64))
    def case(by: list[Cut]) -> None:
        ran.one()
        path.write_bytes(damaged(whole, by))
        with guarded(tmp_path):
            look(path)
            with contextlib.suppress(WeightsError):
                lora.load(network, path)
            with contextlib.suppress(WeightsError):
                adaptation.blend(network, path, 1.0)

    case()
    ran.check()


def test_damaged_pytorch_files(tmp_path: Path) -> None:
    path, ran = tmp_path / "a.pth", Tally("pytorch")
    torch.save({"encoder.conv_in.weight": torch.ones(4, 3), "post_quant_conv.weight": torch.ones(4)}, path)
    archive = path.read_bytes()
    legacy = tmp_path / "legacy.pth"
    torch.save({"shared.weight": torch.ones(4, 3)}, legacy, _use_new_zipfile_serialization=False)
    wholes = (archive, legacy.read_bytes())

    @drawn("pytorch")
    @given(st.sampled_from(wholes), cuts(64))
    def case(whole: bytes, by: list[Cut]) -> None:
        ran.one()
        path.write_bytes(damaged(whole, by))
        with guarded(tmp_path):
            look(path)

    case()
    ran.check()


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"a": 1}, {1: torch.ones(2)}, {"a": {"b": torch.ones(2)}}, torch.ones(2), {"": torch.ones(0)}, {}, "text"],
)
def test_pytorch_files_that_hold_something_else(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(content, path)
    with guarded(tmp_path):
        look(path)


class _Deed:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


def test_pytorch_files_of_other_shapes(tmp_path: Path) -> None:
    """The keys by which a format is known, with tensors that do not fit."""
    path = tmp_path / "a.pth"
    keys = ("head.modulation", "patch_embedding.weight", "decoder.middle.0.residual.0.gamma", "encoder.conv_in.weight")
    keys += ("token_embedding.weight", "blocks.99999999999.norm2.weight", "post_quant_conv.weight", "diffusion_model.a")
    for tensor in (
        torch.ones(()),
        torch.ones(1),
        torch.ones(2, 3),
        torch.ones(0, 4, 1, 2, 2),
        torch.ones(4, 4, 1, 2, 2),
    ):
        for key in keys:
            torch.save(dict.fromkeys((key, "patch_embedding.weight", "proj_out.weight"), tensor), path)
            with guarded(tmp_path):
                look(path)
            torch.save(dict.fromkeys(keys, tensor), path)
            with guarded(tmp_path):
                look(path)


def test_tokenizers_of_any_kind(tmp_path: Path) -> None:
    whole = {path.name: json.loads(path.read_text()) for path in (paths.WAN / "tokenizer").iterdir()}
    hostile_texts = (
        b"",
        b"{",
        b"null",
        b"[]",
        b"\x80\x04.",
        b"[" * 5000,
        b'{"auto_map": {"AutoTokenizer": ["x.X", null]}}',
    )
    for name in whole:
        folder = tmp_path / name.partition(".")[0]
        shutil.copytree(paths.WAN / "tokenizer", folder)
        (folder / "x.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\nclass X: pass\n")
        for text in hostile_texts:
            (folder / name).write_bytes(text)
            with guarded(tmp_path), contextlib.suppress(WeightsError):
                wan.load_tokenizer(str(folder))
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("write", ["archive", "legacy", "pickle"])
@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.bin", "a.safetensors"])
def test_no_pickle_of_a_file_is_ever_run(write: str, name: str, tmp_path: Path) -> None:
    """The file would make a folder when it is unpickled; it is refused by name, and the folder is not there."""
    mark, path = tmp_path / "mark", tmp_path / name
    if write == "pickle":
        path.write_bytes(pickle.dumps({"weight": _Deed(mark)}))
    else:
        torch.save({"weight": _Deed(mark)}, path, _use_new_zipfile_serialization=write == "archive")
    with guarded(tmp_path):
        look(path)
        for load in (wan.load_expert, wan.load_vae, wan.load_text_encoder):
            with pytest.raises(WeightsError, match=name):
                load(sources.source("vae", [path]))
    assert not mark.exists()
    with contextlib.suppress(Exception):
        pickle.load(open(path, "rb"))  # the deed is a true one where the file is a pickle
    assert mark.exists() == (write == "pickle")


def test_lists_of_weights_of_any_shape(expert: Path, tmp_path: Path) -> None:
    path, ran = tmp_path / "paths.json", Tally("lists of weights")
    whole = json.dumps([str(expert / "config.json"), str(expert), [str(expert)], "vae.safetensors"]).encode()
    config = ModelConfig(model_paths=str(path), tokenizer_path=str(tmp_path))

    @drawn("lists of weights")
    @given(cuts(16))
    def case(by: list[Cut]) -> None:
        ran.one()
        path.write_bytes(damaged(whole, by))
        with guarded(tmp_path), contextlib.suppress(WeightsError):
            sources.resolve(config)

    case()
    ran.check()


def test_damaged_checkpoints(tmp_path: Path) -> None:
    """A checkpoint that is not whole is none; one whose files were changed afterwards is refused by name."""
    run, ran = RunFolder.create(tmp_path, "run"), Tally("checkpoint")
    network, config = tiny_wan.transformer(1), _lora_settings()
    adapted = adaptation.adapt(network, config, seed=0)
    folder = checkpoints.begin(run, 10)
    adapted.save(adaptation.checkpoint_file(folder, "low_noise"))
    (folder / "trainer.json").write_text(json.dumps({"step": 10, "batch": 1, "round": 0, "kl_weight": None}))
    checkpoints.commit(run, 10, folder)
    (kept,) = checkpoints.list_checkpoints(run)
    wholes = {file: file.read_bytes() for file in kept.path.iterdir()}

    @drawn("checkpoint")
    @given(st.sampled_from(sorted(wholes)), cuts(64))
    def case(file: Path, by: list[Cut]) -> None:
        ran.one()
        file.write_bytes(damaged(wholes[file], by))
        with guarded(tmp_path):
            checkpoints.list_checkpoints(run)
            run_details.details(run, tmp_path)
            with contextlib.suppress(checkpoints.CheckpointError):
                checkpoints.find(run, "latest")
            with contextlib.suppress(WeightsError):
                checkpointing.load_weights(kept, {"low_noise": adapted})
        file.write_bytes(wholes[file])

    case()
    ran.check()


def _small(path: Path) -> bytes:
    """A safetensors file of a LoRA, a few kilobytes."""
    network = tiny_wan.transformer(1)
    lora.add(network, ("q",), 2, 2.0, seed=0)
    lora.save(network, path)
    assert load_file(path)
    return path.read_bytes()


def _lora_settings() -> Any:
    from rewardfl_app.config import presets

    config = presets.preset("pocket")
    return config.model_copy(
        update={"lora": config.lora.model_copy(update={"lora_rank": 2, "lora_target_modules": ("q",)})}
    )
