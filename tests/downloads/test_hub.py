"""Whole repositories, from a server that lists and gives them as Hugging Face does, into a folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from file_origin import Origin

from rewardfl_app.config.schema import ModelConfig
from rewardfl_app.downloads import DownloadError, hub, obtain, unpack
from rewardfl_app.downloads.catalog import OFFERS, Name, Repository
from rewardfl_app.models import sources

INDEX = json.dumps({"weight_map": {"a": "diffusion_pytorch_model-00001-of-00001.safetensors"}}).encode()
SHARED = {
    "models_t5_umt5-xxl-enc-bf16.pth": b"text encoder",
    "google/umt5-xxl/spiece.model": b"pieces",
    "google/umt5-xxl/tokenizer.json": b"{}",
    "README.md": b"not wanted",
    "assets/picture.png": b"not wanted either",
}
EXPERT = {
    "config.json": b"{}",
    "diffusion_pytorch_model-00001-of-00001.safetensors": b"weights",
    "diffusion_pytorch_model.safetensors.index.json": INDEX,
}
REPOSITORIES = {
    Name.WAN2_2: {
        **SHARED,
        "Wan2.1_VAE.pth": b"vae",
        **{f"high_noise_model/{name}": content + b" " for name, content in EXPERT.items()},
        **{f"low_noise_model/{name}": content for name, content in EXPERT.items()},
    },
    Name.WAN2_2_5B: {
        **SHARED,
        "Wan2.2_VAE.pth": b"vae",
        "config.json": b"{}",
        "diffusion_pytorch_model.safetensors.index.json": INDEX,
        "diffusion_pytorch_model-00002-of-00002.safetensors": b"second",
        "diffusion_pytorch_model-00001-of-00002.safetensors": b"first",
    },
    Name.LIGHTNING: {
        "Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1/high_noise_model.safetensors": b"high",
        "Wan2.2-I2V-A14B-4steps-lora-rank64-Seko-V1/low_noise_model.safetensors": b"low",
        "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1/high_noise_model.safetensors": b"of another model",
    },
}
LARGE = (".pth", ".safetensors", ".model")
VAE = "Wan2.1_VAE.pth"


def repository(name: Name) -> Repository:
    origin = OFFERS[name].origin
    assert isinstance(origin, Repository)
    return origin


def publish(origin: Origin, name: Name) -> None:
    files = REPOSITORIES[name]
    origin.publish(repository(name).name, files, {file for file in files if file.endswith(LARGE)})


def get(name: Name, folder: Path) -> None:
    obtain.obtain(OFFERS[name], folder, lambda *_: None)


def given(origin: Origin) -> list[str]:
    """Names of the files that were asked for."""
    return [path.split("/", 5)[5] for path, _ in origin.asked if "/resolve/" in path]


@pytest.mark.parametrize("name", list(REPOSITORIES))
def test_what_is_wanted_comes_and_nothing_else(origin: Origin, name: Name, tmp_path: Path) -> None:
    publish(origin, name)
    get(name, tmp_path / "new" / "folder")
    found = {
        str(path.relative_to(tmp_path / "new" / "folder")): path.read_bytes()
        for path in (tmp_path / "new" / "folder").rglob("*")
        if path.is_file() and path.name[0] != "." and path.name != "model_paths.json"
    }
    unwanted = ("README.md", "assets/", "Wan2.2-T2V")
    assert found == {file: content for file, content in REPOSITORIES[name].items() if not file.startswith(unwanted)}


@pytest.mark.parametrize("name", [Name.WAN2_2, Name.WAN2_2_5B])
def test_the_list_of_weights_is_one_that_is_understood(origin: Origin, name: Name, tmp_path: Path) -> None:
    publish(origin, name)
    get(name, tmp_path)
    found = sources.resolve(ModelConfig(model_name=name.value, model_paths=str(tmp_path / "model_paths.json")))
    assert found.text_encoder.files == (tmp_path / "models_t5_umt5-xxl-enc-bf16.pth",)
    assert found.high_noise.config is not None
    if name is Name.WAN2_2:
        assert found.low_noise is not None and found.low_noise.config == tmp_path / "low_noise_model" / "config.json"
        assert found.vae.files == (tmp_path / VAE,)
    else:
        assert [path.name[:28] for path in found.high_noise.files] == [
            f"diffusion_pytorch_model-0000{n}"[:28] for n in (1, 2)
        ]


@pytest.mark.parametrize("name", list(REPOSITORIES))
def test_the_settings_name_files_that_are_there(origin: Origin, name: Name, tmp_path: Path) -> None:
    publish(origin, name)
    get(name, tmp_path)
    for setting in OFFERS[name].settings:
        value = setting.format(folder=tmp_path).partition("=")[2]
        assert value == name.value or Path(value).exists()


def test_what_is_there_whole_is_not_fetched_again(origin: Origin, tmp_path: Path) -> None:
    publish(origin, Name.WAN2_2)
    get(Name.WAN2_2, tmp_path)
    origin.asked.clear()
    get(Name.WAN2_2, tmp_path)
    assert not given(origin)

    (tmp_path / VAE).write_bytes(b"vaE")  # changed, though as long
    (tmp_path / ".download.json").write_text("nonsense")
    get(Name.WAN2_2, tmp_path)
    assert given(origin) == [VAE] and (tmp_path / VAE).read_bytes() == b"vae"


def test_a_list_of_weights_that_was_changed_stays(origin: Origin, tmp_path: Path) -> None:
    publish(origin, Name.WAN2_2)
    get(Name.WAN2_2, tmp_path)
    own = '{"high_noise_model": "of my own"}'
    (tmp_path / "model_paths.json").write_text(own)
    get(Name.WAN2_2, tmp_path)
    assert (tmp_path / "model_paths.json").read_text() == own


def test_files_that_were_verified_are_not_read_again(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(origin, Name.LIGHTNING)
    get(Name.LIGHTNING, tmp_path)
    touched = next(tmp_path.rglob("low_noise_model.safetensors"))
    os.utime(touched, ns=(1, 1))
    read: list[str] = []
    digest_of = obtain.digest_of
    monkeypatch.setattr(obtain, "digest_of", lambda path, like: read.append(path.name) or digest_of(path, like))
    get(Name.LIGHTNING, tmp_path)
    assert read == [touched.name]


@pytest.mark.parametrize("file", [VAE, "google/umt5-xxl/tokenizer.json"])  # in LFS, and in git
def test_a_corrupt_file_is_named_and_the_others_stay(origin: Origin, tmp_path: Path, file: str) -> None:
    publish(origin, Name.WAN2_2)
    [path] = [path for path in origin.contents if path.endswith(file)]
    sound = origin.contents[path]
    origin.contents[path] = sound[:-1] + b"?"
    with pytest.raises(DownloadError, match=f"{file} has come twice"):
        get(Name.WAN2_2, tmp_path)
    assert not (tmp_path / file).exists() and not (tmp_path / "model_paths.json").exists()
    before = set(given(origin))
    origin.contents[path] = sound
    origin.asked.clear()
    get(Name.WAN2_2, tmp_path)
    assert file in given(origin) and not (before - {file}) & set(given(origin))


def test_too_little_room_is_told_before_anything_is_fetched(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(origin, Name.LIGHTNING)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
    monkeypatch.setattr(unpack, "SPARE_BYTES", 5)
    with pytest.raises(DownloadError, match="1 bytes free and 12 bytes are needed, 5 bytes .*room for 11 bytes more"):
        get(Name.LIGHTNING, tmp_path)
    assert not given(origin)


def test_a_repository_that_lacks_something_is_told(origin: Origin, tmp_path: Path) -> None:
    files = {name: content for name, content in REPOSITORIES[Name.WAN2_2].items() if name != VAE}
    origin.publish(repository(Name.WAN2_2).name, files, set())
    with pytest.raises(DownloadError, match=f"has no {VAE}"):
        get(Name.WAN2_2, tmp_path)
    assert not given(origin)


@pytest.mark.parametrize("name", ["high_noise_model/../../x", "high_noise_model//x", "high_noise_model/a\\b"])
def test_a_name_that_leads_elsewhere_is_refused(origin: Origin, tmp_path: Path, name: str) -> None:
    origin.publish(repository(Name.WAN2_2).name, {**REPOSITORIES[Name.WAN2_2], name: b"x"}, set())
    with pytest.raises(DownloadError, match="leads elsewhere"):
        get(Name.WAN2_2, tmp_path)
    assert not given(origin)


@pytest.mark.parametrize(
    "listed", [b"<html>", b"{}", b"[1]", b'[{"type": "file", "path": "config.json"}]', b"[" * 9**5]
)
def test_a_list_that_is_none_is_told(origin: Origin, tmp_path: Path, listed: bytes) -> None:
    publish(origin, Name.WAN2_2_5B)
    origin.contents[next(path for path in origin.contents if "/tree/" in path)] = listed
    with pytest.raises(DownloadError, match="does not list Wan-AI/Wan2.2-TI2V-5B"):
        get(Name.WAN2_2_5B, tmp_path)


def test_a_list_of_several_pages_is_read_to_its_end(origin: Origin) -> None:
    publish(origin, Name.WAN2_2)
    whole = hub.files(repository(Name.WAN2_2))
    path = next(path for path in origin.contents if "/tree/" in path)
    entries = json.loads(origin.contents[path])
    for number in range(3):
        origin.contents[f"{path}{'x' * number}"] = json.dumps(entries[number::3]).encode()
        if number < 2:
            origin.links[f"{path}{'x' * number}"] = f'<{origin.url}{path}{"x" * (number + 1)}?cursor=a>; rel="next"'
    assert hub.files(repository(Name.WAN2_2)) == whole


def test_one_of_two_loras_is_too_few(origin: Origin, tmp_path: Path) -> None:
    files = {name: content for name, content in REPOSITORIES[Name.LIGHTNING].items() if "low_noise" not in name}
    origin.publish(repository(Name.LIGHTNING).name, files, set())
    with pytest.raises(DownloadError, match="has no .*low_noise_model.safetensors"):
        get(Name.LIGHTNING, tmp_path)


def test_a_list_that_is_cut_off_is_asked_for_again(origin: Origin) -> None:
    publish(origin, Name.LIGHTNING)
    origin.breaks = [5]
    assert len(hub.files(repository(Name.LIGHTNING))) == 2


def test_a_token_that_is_none_is_not_told(origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(origin, Name.LIGHTNING)
    monkeypatch.setenv("HF_TOKEN", "hf_sec\nret")
    with pytest.raises(DownloadError, match="HF_TOKEN") as caught:
        get(Name.LIGHTNING, tmp_path)
    assert "hf_sec" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    get(Name.LIGHTNING, tmp_path)
    assert {headers.get("authorization") for _, headers in origin.asked} == {"Bearer hf_x"}


def test_two_downloads_into_one_folder_are_not_mixed(origin: Origin, tmp_path: Path) -> None:
    publish(origin, Name.LIGHTNING)
    with obtain.held(tmp_path / ".download.lock"), pytest.raises(DownloadError, match="Another download"):
        get(Name.LIGHTNING, tmp_path)
    assert not origin.asked
