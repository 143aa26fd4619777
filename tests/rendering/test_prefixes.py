from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_family
import torch
from brightness_trainer import BrightnessScorer

from rewardfl_app.config import files
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset
from rewardfl_app.models import sampling, wan
from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering.clips import Batch, ClipEncoder
from rewardfl_app.rendering.prefixes import Prefixes
from rewardfl_app.rendering.store import Store

KEYS = [(7, 42, 1, 0), (7, 42, 1, 1), (7, 42, 2, 0)]


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


def test_they_are_the_latents_after_the_frozen_steps(config: Config) -> None:
    model, clips, prefixes = parts(config, Store(None))
    assert prefixes.stop == Grid.of(config).experts.index("low_noise") > 0
    batch = Batch.of(clips.encode([0, 0, 1]))
    noise = torch.stack([sampling.seeded_noise(batch.latent_shape, *key) for key in KEYS])
    grid = Grid.of(config)
    with torch.no_grad():
        velocity = sampling.velocities(model.experts, grid, batch.text, batch.condition)
        want = sampling.rollout(velocity, noise, grid)[prefixes.stop]
    torch.testing.assert_close(prefixes.latents(batch, KEYS), want, rtol=1e-5, atol=1e-6)
    assert torch.equal(prefixes.latents(batch, KEYS, kept=False), want)
    assert torch.equal(Prefixes(model, grid, 0).latents(batch, KEYS), noise)
    with pytest.raises(ValueError, match="3 clips need as many noises"):
        prefixes.latents(batch, KEYS[:2])


def test_cold_warm_and_off_are_bit_equal_in_any_company(config: Config, tmp_path: Path) -> None:
    _, clips, off = parts(config, Store(None))
    batch = Batch.of(clips.encode([0, 0, 1]))
    want = off.latents(batch, KEYS)
    model, clips, cold = parts(config, Store(tmp_path))
    for place, (position, key) in enumerate(zip([0, 0, 1], KEYS, strict=True)):
        assert torch.equal(cold.latents(Batch.of(clips.encode([position])), [key])[0], want[place])
    model, clips, warm = parts(config, Store(tmp_path))
    turned = Batch.of(clips.encode([1, 0, 0]))
    assert torch.equal(warm.latents(turned, KEYS[::-1]).flip(0), want)
    assert not model.resident


def test_what_one_of_several_processes_has_lost_all_compute_again(config: Config, tmp_path: Path) -> None:
    """Or one of those that run the network together would wait for ever."""
    model, clips, prefixes = parts(config, Store(tmp_path))
    batch = Batch.of(clips.encode([0]))
    want = prefixes.latents(batch, KEYS[:1])
    key = prefixes.key(batch.clips[0].content, batch.latent_shape, KEYS[0])
    shared = Prefixes.of(model, config, Store(tmp_path), agreed=lambda found: False)
    assert prefixes.has(key) and not shared.has(key)
    assert not model.resident.intersection(("high_noise",))
    for _ in range(2):
        asked: list[bool] = []
        shared._agreed = lambda found, asked=asked: bool(asked.append(found))  # type: ignore[misc,func-returns-value]
        assert torch.equal(shared.latents(batch, KEYS[:1]), want) and asked == [True]


def test_the_latest_stay_in_memory_without_a_store(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    _, clips, prefixes = parts(config, Store(None))
    batch = Batch.of(clips.encode([0, 0, 1]))
    want = prefixes.latents(batch, KEYS)
    monkeypatch.setattr(sampling, "rollout", lambda *_, **__: pytest.fail("computed again"))
    assert torch.equal(prefixes.latents(batch, KEYS), want)


def test_everything_they_depend_on_is_in_the_key(config: Config, tmp_path: Path) -> None:
    model, clips, prefixes = parts(config, Store(tmp_path))
    grid, shape, content = Grid.of(config), (16, 3, 4, 4), clips.content(0)
    key = prefixes.key(content, shape, KEYS[0])
    later = replace(grid, sigmas=(*grid.sigmas[:-2], 0.1, 0.0))
    assert (
        prefixes.key(content, shape, KEYS[0])
        == key
        == Prefixes(model, later, prefixes.stop).key(content, shape, KEYS[0])
    ), "what follows the prefix is not part of it"
    others = [
        prefixes.key(clips.content(1), shape, KEYS[0]),
        prefixes.key(content, (16, 3, 4, 2), KEYS[0]),
        prefixes.key(content, shape, KEYS[1]),
        Prefixes(model, replace(grid, sigmas=(1.0, 0.9, *grid.sigmas[2:])), prefixes.stop).key(content, shape, KEYS[0]),
        Prefixes(model, grid, prefixes.stop - 1).key(content, shape, KEYS[0]),
        Prefixes(wan.load(config.model.model_copy(update={"dtype": "bfloat16"})), grid, prefixes.stop).key(
            content, shape, KEYS[0]
        ),
    ]
    assert len({key, *others}) == len(others) + 1
