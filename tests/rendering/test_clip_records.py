from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_family
import torch
from brightness_trainer import BrightnessScorer
from safetensors.torch import load_file, save_file

from rewardfl_app.config import files
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset
from rewardfl_app.data.errors import DataError
from rewardfl_app.models import conditioning, wan
from rewardfl_app.rendering.clip_records import ClipKeys, ClipRecords
from rewardfl_app.rendering.clips import ClipEncoder, EncodedClip
from rewardfl_app.rendering.store import Store

PARTS = ("text", "condition", "clean", "reference")


@pytest.fixture(scope="module")
def shared_family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_family.make_family(tmp_path_factory.mktemp("family"))


@pytest.fixture
def family(shared_family: Path, tmp_path: Path) -> Path:
    """A family that a test may change."""
    return Path(shutil.copytree(shared_family, tmp_path / "family"))


def config_of(family: Path, **changes: dict[str, Any]) -> Config:
    run = tiny_family.make_run(family, family / "runs", "clips", **changes)
    return files.load(run.config)


def keys(family: Path, position: int = 0, **changes: dict[str, Any]) -> ClipKeys:
    config = config_of(family, **changes)
    dataset = ClipDataset.of(manifest.read(str(config.data.metadata_path)), config)
    return ClipRecords(wan.load(config.model), dataset, config, Store(None)).keys(position)


def changed(before: ClipKeys, after: ClipKeys) -> set[str]:
    return {part for part in PARTS if getattr(before, part) != getattr(after, part)}


def change_weights(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    tensors = load_file(file)
    name = next(name for name in sorted(tensors) if tensors[name].is_floating_point())
    tensors[name] = tensors[name] + 1
    save_file(tensors, file, {"format": "pt"})


def replace_prompt(family: Path, old: str, new: str) -> None:
    table = family / "metadata.csv"
    table.write_text(table.read_text().replace(old, new))


def test_the_same_things_have_the_same_keys(family: Path, tmp_path: Path) -> None:
    before = keys(family)
    assert not changed(before, keys(family))
    moved = Path(shutil.copytree(family, tmp_path / "moved"))
    os.utime(moved / "clip0.mp4", (0, 0))
    assert not changed(before, keys(moved)), "only content counts"
    replace_prompt(family, "a woman turns 0", "  a  woman turns 0 ")
    assert not changed(before, keys(family)), "cleaned, it is the same prompt"
    assert changed(before, keys(family, 1)) == set(PARTS)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"data": {"num_frames": 5}}, {"condition", "clean", "reference"}),
        ({"data": {"height": 16}}, {"condition", "clean", "reference"}),
        ({"model": {"dtype": "bfloat16"}}, {"text", "condition", "clean"}),
        ({"reward": {"det_size": 96}}, {"reference"}),
        ({"reward": {"pool": "max"}}, {"reference"}),
        ({"reward": {"rewards": "face_similarity,own_rewards:Brightness=0.5"}}, {"reference"}),
        ({"reward": {"kl_weight": 0.25, "reward_mean": 0.1, "reward_weight": 3.0}}, set()),
        ({"train": {"seed": 7}, "lora": {"lora_rank": 4}, "sampling": {"mid_timestep": 3}}, set()),
    ],
)
def test_a_setting_changes_what_depends_on_it(
    family: Path, changes: dict[str, dict[str, Any]], parts: set[str]
) -> None:
    assert changed(keys(family), keys(family, **changes)) == parts


def test_a_file_changes_what_depends_on_it(family: Path) -> None:
    before = keys(family)
    replace_prompt(family, "a woman turns 0", "a man turns 0")
    after = keys(family)
    assert changed(before, after) == {"text"} and before.content != after.content
    before = after
    change_weights(family / "wan" / "text_encoder")
    assert changed(before, before := keys(family)) == {"text"}
    change_weights(family / "wan" / "vae")
    assert changed(before, before := keys(family)) == {"condition", "clean"}
    change_weights(family / "wan" / "transformer")
    assert not changed(before, keys(family))
    (family / "none.onnx").write_bytes(b"another pack")
    assert changed(before, before := keys(family)) == {"reference"}
    shutil.copy(family / "clip1.mp4", family / "clip0.mp4")
    after = keys(family)
    assert changed(before, after) == {"condition", "clean", "reference"} and before.content != after.content


def test_a_file_that_is_gone_is_named_by_row(family: Path) -> None:
    config = config_of(family)
    rows = manifest.read(str(config.data.metadata_path))
    (family / "clip2.mp4").unlink()
    records = ClipRecords(wan.load(config.model), ClipDataset.of(rows, config), config, Store(None))
    with pytest.raises(DataError, match=r"Row 3: .*clip2.mp4 cannot be read"):
        records.keys(2)


def encoder(config: Config, store: Store) -> tuple[wan.WanModel, ClipEncoder]:
    model = wan.load(config.model)
    dataset = ClipDataset.of(manifest.read(str(config.data.metadata_path)), config)
    scorer: Any = BrightnessScorer()
    return model, ClipEncoder.of(model, dataset, scorer, config, store, with_clean=True)


def assert_equal(one: EncodedClip, two: EncodedClip) -> None:
    assert torch.equal(one.text, two.text) and torch.equal(one.condition, two.condition)
    assert one.clean is not None and two.clean is not None and torch.equal(one.clean, two.clean)
    rest = ("row", "name", "prompt", "size", "content", "reference", "latent_shape")
    assert all(getattr(one, name) == getattr(two, name) for name in rest)


def test_what_is_kept_is_neither_decoded_nor_encoded_again(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(family)
    _, plain = encoder(config, Store(None))
    _, cold = encoder(config, Store(tmp_path / "cache"))
    wanted = plain.encode([0, 1])
    for one, two in zip(wanted, cold.encode([0, 1]), strict=True):
        assert_equal(one, two)
    for place in (ClipDataset, "__getitem__"), (BrightnessScorer, "reference"), (conditioning, "encode_prompts"):
        monkeypatch.setattr(*place, lambda *_: pytest.fail("computed again"))
    model, warm = encoder(config, Store(tmp_path / "cache"))
    assert not any(warm.missing(part, 1) for part in PARTS)  # type: ignore[arg-type]
    for one, two in zip(wanted, warm.encode([0, 1]), strict=True):
        assert_equal(one, two)
    assert not model.resident


def test_a_damaged_part_is_made_again(family: Path, tmp_path: Path) -> None:
    config = config_of(family)
    wanted = encoder(config, Store(tmp_path / "cache"))[1].encode([0])[0]
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-3])
    assert_equal(wanted, encoder(config, Store(tmp_path / "cache"))[1].encode([0])[0])
