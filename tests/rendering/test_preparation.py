from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_family
from brightness_trainer import BrightnessScorer

from rewardfl_app.config import files
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset
from rewardfl_app.data.errors import DataError
from rewardfl_app.models import wan
from rewardfl_app.rendering.clips import Batch, ClipEncoder
from rewardfl_app.rendering.prefixes import Prefixes
from rewardfl_app.rendering.preparation import Wanted, prepare
from rewardfl_app.rendering.store import Store

KEYS = [(7, 42, 1, 0), (7, 42, 1, 1), (7, 42, 2, 0)]
FROZEN = {"high_noise", "text_encoder", "vae_encoder"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("family")
    steps = {"num_inference_steps": 4, "mid_timestep": 2, "final_timestep": 3, "prefix_seeds": 2}
    run = tiny_family.make_run(tiny_family.make_family(folder), folder / "runs", "one", sampling=steps)
    return files.load(run.config)


def parts(config: Config, store: Store) -> tuple[wan.WanModel, ClipEncoder, Prefixes]:
    model = wan.load(config.model)
    dataset = ClipDataset.of(manifest.read(str(config.data.metadata_path)), config)
    scorer: Any = BrightnessScorer()
    clips = ClipEncoder.of(model, dataset, scorer, config, store, with_clean=False)
    return model, clips, Prefixes.of(model, config, store)


def test_preparation_holds_one_large_network_at_a_time(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clips, prefixes = parts(config, Store(tmp_path))
    together: set[frozenset[str]] = set()
    told: list[str] = []

    def progress(what: str, done: int, total: int) -> None:
        together.add(model.resident & FROZEN)
        told.append(f"{what} {done}/{total}")

    samples = list(zip([0, 0, 1], KEYS, strict=True))
    prepare(model, [Wanted(clips, samples)], prefixes, progress)
    assert all(len(networks) <= 1 for networks in together) and len(together) == 4
    assert not model.resident & FROZEN
    assert told[0] == "Encoding the prompts 0/2" and told[-1] == "Sampling the leading steps 2/3"

    told.clear()
    model, clips, prefixes = parts(config, Store(tmp_path))
    prepare(model, [Wanted(clips, samples)], prefixes, progress)
    assert not told and not model.resident, "all of it is there"
    prefixes.latents(Batch.of(clips.encode([0, 0, 1])), KEYS)
    assert not model.resident


def test_only_what_is_missing_is_prepared(config: Config, tmp_path: Path) -> None:
    model, clips, prefixes = parts(config, Store(tmp_path))
    prepare(model, [Wanted(clips, [(0, KEYS[0])])], prefixes)
    told: list[str] = []
    model, clips, prefixes = parts(config, Store(tmp_path))
    wanted = [Wanted(clips, [(0, KEYS[0]), (0, KEYS[1])]), Wanted(clips, [(1, KEYS[2])])]
    prepare(model, wanted, prefixes, lambda what, done, total: told.append(f"{what} {total}"))
    assert told == ["Encoding the prompts 1", "Encoding the clips 1"] + ["Sampling the leading steps 2"] * 2


def test_a_clip_that_cannot_be_used_is_passed_over(config: Config, tmp_path: Path) -> None:
    class Picky(BrightnessScorer):
        def reference(self, clip: Any) -> Any:
            if clip.row.index == 1:
                raise DataError("Row 1: no face was found in the first frame.")
            return super().reference(clip)

    store = Store(tmp_path)
    model, clips, prefixes = parts(config, store)
    clips._scorer = Picky()  # type: ignore[assignment]
    prepare(model, [Wanted(clips, [(0, KEYS[0]), (1, KEYS[2])])], prefixes)
    shape = (16, 3, 4, 4)
    assert prefixes.has(prefixes.key(clips.content(1), shape, KEYS[2]))
    assert not prefixes.has(prefixes.key(clips.content(0), shape, KEYS[0]))


def test_what_cannot_be_kept_is_refused_at_once(config: Config, tmp_path: Path) -> None:
    model, clips, prefixes = parts(config, Store(tmp_path))
    samples = [(position, (7, position, seed)) for position in range(6) for seed in range(2)]
    with pytest.raises(ConfigError, match=r"data.cache_gb: The clips and the leading steps .* take about 0.1 GB"):
        prepare(model, [Wanted(clips, samples)], prefixes, limit_bytes=50_000)
    assert not model.resident
