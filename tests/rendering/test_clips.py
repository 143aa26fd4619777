from __future__ import annotations

import pytest
import tiny_family
import torch
from brightness_trainer import BrightnessScorer

from rewardfl_app.config import files
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset
from rewardfl_app.data.errors import DataError
from rewardfl_app.models import wan
from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering import clips
from rewardfl_app.rendering.clips import Batch, ClipEncoder
from rewardfl_app.rendering.evaluation_set import EvaluationSet
from rewardfl_app.runs import samples
from rewardfl_app.runs.folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("family")
    return tiny_family.make_run(tiny_family.make_family(folder), folder / "runs", "clips")


@pytest.fixture(scope="module")
def config(run: RunFolder) -> Config:
    return files.load(run.config)


@pytest.fixture(scope="module")
def model(config: Config) -> wan.WanModel:
    return wan.load(config.model)


@pytest.fixture
def dataset(config: Config) -> ClipDataset:
    return ClipDataset.of(manifest.read(str(config.data.metadata_path)), config)


def test_a_row_is_encoded_once_and_alike_in_any_company(
    model: wan.WanModel, dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = ClipEncoder(model, dataset, BrightnessScorer(), with_clean=True)
    first = encoder.encode([0, 1, 0])
    assert first[0] is first[2]
    monkeypatch.setattr(ClipDataset, "__getitem__", lambda self, index: pytest.fail("decoded twice"))
    assert encoder.encode([1])[0] is first[1]
    monkeypatch.undo()
    alone = ClipEncoder(model, dataset, BrightnessScorer(), with_clean=True).encode([1])[0]
    for name in ("text", "condition", "clean"):
        assert torch.equal(getattr(alone, name), getattr(first[1], name))
    assert alone.latent_shape == (16, 3, 4, 4) and alone.clean is not None and alone.clean.shape == (16, 3, 4, 4)


def test_the_cache_is_bounded(model: wan.WanModel, dataset: ClipDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "CACHE_BYTES", 1)
    encoder = ClipEncoder(model, dataset, BrightnessScorer())
    first = encoder.encode([0])[0]
    second = encoder.encode([1])[0]
    assert encoder.encode([1])[0] is second
    assert encoder.encode([0])[0] is not first


def test_clips_of_two_sizes_are_not_sampled_together(model: wan.WanModel, dataset: ClipDataset, config: Config) -> None:
    small = ClipDataset(dataset.rows, 5, 1024, 16, 16)
    mixed = [ClipEncoder(model, each, None).encode([i])[0] for i, each in enumerate((dataset, small))]
    with pytest.raises(DataError, match="Row 1 is 32 x 32 and row 2 is 16 x 16"):
        Batch.of(mixed)


def test_evaluation_does_not_depend_on_how_it_is_shared_out(
    run: RunFolder, model: wan.WanModel, dataset: ClipDataset, config: Config
) -> None:
    scorer = BrightnessScorer()
    grid = Grid.of(config)
    whole = EvaluationSet(model, scorer, dataset, config)
    assert [entry.name for entry in whole.entries] == ["00-clip0", "01-clip1", "02-clip2"]
    together = whole.render(run, 1, grid) or {}
    shares = [EvaluationSet(model, scorer, dataset, config, rank=rank, size=2) for rank in range(2)]
    parts = [share.render(run, 2, grid) or {} for share in shares]
    assert [list(part) for part in parts] == [[0, 2], [1]] and shares[1].names == whole.names
    for place, values in together.items():
        shared = parts[place % 2][place]
        assert values.measures["reward"] == pytest.approx(shared.measures["reward"], rel=1e-5)
        assert values.measures["judge"] is None
    assert len(samples.list_samples(run)[2]) == 3


def test_of_processes_that_render_together_one_writes(
    run: RunFolder, model: wan.WanModel, dataset: ClipDataset, config: Config
) -> None:
    videos = EvaluationSet(model, BrightnessScorer(), dataset, config, writes=False)
    before = set(run.samples.rglob("*"))
    done: list[int] = []

    def go_on(count: int) -> bool:
        done.append(count)
        return True

    assert videos.render(run, 4, Grid.of(config), go_on) == {}
    videos.write_references(run)
    assert done == [0, 2] and set(run.samples.rglob("*")) == before


def test_abandoned_rendering_says_so(run: RunFolder, model: wan.WanModel, dataset: ClipDataset, config: Config) -> None:
    videos = EvaluationSet(model, BrightnessScorer(), dataset, config)
    assert videos.render(run, 3, Grid.of(config), go_on=lambda done: done == 0) is None
    assert len(samples.list_samples(run)[3]) == 2
