"""The baseline that is kept: taken whole or not at all, and only by a run that would render the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_family
import torch

from rewardfl_app.config import validation
from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset
from rewardfl_app.models import wan
from rewardfl_app.rendering.kept_baseline import KIND, KeptBaseline
from rewardfl_app.rendering.store import Store
from rewardfl_app.runs import samples, video_values
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.video_values import MEASURES, VideoValues


def rendered(runs: Path, name: str) -> RunFolder:
    """A run with a baseline of two videos and their real clips."""
    run = RunFolder.create(runs, name)
    for video in ("00-a", "01-b"):
        for folder in (samples.sample_folder(run, 0, video), samples.reference_folder(run, video)):
            (folder / "video.mp4").write_bytes(video.encode() * 100)
            samples.write_faces(folder, {"reward": 0.5})
    video_values.write(run, 0, {name: VideoValues({"reward": 0.1}) for name in ("00-a", "01-b")})
    return run


def test_what_was_kept_is_taken_to_the_last_byte(tmp_path: Path) -> None:
    kept = KeptBaseline(Store(tmp_path / ".cache"), "abc")
    first, second = rendered(tmp_path, "first"), RunFolder.create(tmp_path, "second")
    left = samples.sample_folder(second, 0, "00-a") / "video.mp4"
    left.write_bytes(b"of a start that was cut short")
    assert not kept.take(second) and left.exists()
    kept.keep(first)
    assert kept.take(second)
    files = [
        {path.relative_to(run.samples): path.read_bytes() for path in run.samples.rglob("*") if path.is_file()}
        for run in (first, second)
    ]
    assert files[0] == files[1] and len(files[0]) == 9
    assert not list(second.path.glob(".baseline*"))
    left.write_bytes(b"changed")
    third = RunFolder.create(tmp_path, "third")
    assert kept.take(third) and video_values.read(third, 0) == video_values.read(first, 0), "a copy, not the same file"
    assert (samples.sample_folder(third, 0, "00-a") / "video.mp4").read_bytes() == b"00-a" * 100


@pytest.mark.parametrize("damage", ["changed", "missing", "more"])
def test_what_is_damaged_is_not_taken(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path / ".cache")
    kept = KeptBaseline(store, "abc")
    kept.keep(rendered(tmp_path, "first"))
    folder = store.folder(KIND, "abc")
    assert folder is not None
    film = folder / "baseline" / "00-a" / "video.mp4"
    if damage == "changed":
        film.write_bytes(b"01-a" * 100)
    elif damage == "missing":
        film.unlink()
    else:
        film.with_name("more.mp4").touch()
    second = RunFolder.create(tmp_path, "second")
    assert not kept.take(second) and samples.list_samples(second) == {}


def test_without_a_store_nothing_is_kept(tmp_path: Path) -> None:
    first = rendered(tmp_path, "first")
    for kept in (KeptBaseline(Store(None), "abc"), KeptBaseline(Store(tmp_path / ".cache"), None)):
        kept.keep(first)
        assert not kept.take(RunFolder.create(tmp_path, "second"))


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_family.make_family(tmp_path_factory.mktemp("family"))


def key(family: Path, tmp_path: Path, num_processes: int = 1, **changes: dict[str, Any]) -> str | None:
    config = validation.build(tiny_family.settings(family, changes))
    rows = manifest.read(config.data.metadata_path or "")
    model = wan.load(config.model, torch.device("cpu"))
    names = [row.video.stem for row in rows[: config.evaluation.num_samples]]
    store, data = Store(tmp_path / ".cache", config.data.cache_gb), ClipDataset.of(rows, config)
    kept = KeptBaseline.of(model, data, config, store, names, MEASURES, num_processes)
    assert not model.resident, "no network is read for the key"
    return kept._key


def test_the_key_is_that_of_what_is_rendered(family: Path, tmp_path: Path) -> None:
    plain = key(family, tmp_path)
    assert plain is not None
    for same in ({"train": {"seed": 7}}, {"reward": {"kl_weight": 3.0}}, {"evaluation": {"eval_steps": 1}}):
        assert key(family, tmp_path, **same) == plain
    others: list[dict[str, Any]] = [
        {"evaluation": {"seed": 5}},
        {"evaluation": {"num_samples": 2}},
        {"evaluation": {"batch_size": 3}},
        {"reward": {"hinge": True}},
        {"reward": {"det_size": 320}},
        {"sampling": {"shift": 3.0}},
        {"sampling": {"num_inference_steps": 5, "final_timestep": 4}},
        {"data": {"fps": 9}},
        {"data": {"num_frames": 5}},
        {"model": {"dtype": "bfloat16"}},
        {"num_processes": 2},  # type: ignore[dict-item]
    ]
    keys = [key(family, tmp_path, **other) for other in others]
    assert None not in keys and len({plain, *keys}) == len(others) + 1


def test_the_key_follows_the_files(family: Path, tmp_path: Path) -> None:
    plain = key(family, tmp_path)
    clip, weights = family / "clip0.mp4", family / "wan" / "transformer" / "diffusion_pytorch_model.safetensors"
    for file in (clip, weights, family / "none.onnx"):
        before = file.read_bytes()
        changed = bytes([before[-1] ^ 1]) if before else b"x"
        file.write_bytes((family / "clip1.mp4").read_bytes() if file == clip else before[:-1] + changed)
        assert key(family, tmp_path) != plain, file
        file.write_bytes(before)
    assert key(family, tmp_path) == plain


def test_rewards_of_ones_own_are_not_kept(family: Path, tmp_path: Path) -> None:
    assert key(family, tmp_path, reward={"rewards": "face_similarity,own_rewards:Brightness=0.5"}) is None
    assert key(family, tmp_path, data={"cache_gb": 0}) is None
