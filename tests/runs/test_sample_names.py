"""The samples of a run that goes on, followed by their names."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.sample_names import SampleNames
from rewardfl_app.runs.samples import list_references, list_samples, list_steps, reference_folder, sample_folder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "followed")


def _complete(folder: Path) -> None:
    (folder / "faces.json").write_text("{}")


def _agrees(followed: SampleNames, run: RunFolder) -> None:
    listed = {step: tuple(sample.name for sample in found) for step, found in list_samples(run).items()}
    assert followed.steps == listed and list(followed.steps) == list_steps(run) == list(listed)
    assert followed.references == tuple(list_references(run))
    assert followed.num_samples == sum(map(len, listed.values()))


@pytest.mark.parametrize("seed", range(10))
def test_what_is_followed_is_what_a_new_look_finds(run: RunFolder, seed: int) -> None:
    choose = random.Random(seed)
    followed = SampleNames(run)
    begun: list[Path] = []
    for _ in range(60):
        if begun and choose.random() < 0.5:
            _complete(begun.pop(choose.randrange(len(begun))))
        elif choose.random() < 0.2:
            begun.append(reference_folder(run, f"clip_{choose.randrange(4)}"))
        else:
            begun.append(sample_folder(run, 10 * choose.randrange(6), f"clip_{choose.randrange(4)}"))
        followed.look()
        _agrees(followed, run)
        assert not followed.look()


def test_after_many_steps_only_the_newest_is_looked_into(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(step: int) -> None:
        for name in ("one", "two", "three"):
            _complete(sample_folder(run, step, name))

    for step in range(0, 1000, 10):
        evaluate(step)
    followed = SampleNames(run)
    followed.look()
    assert len({id(names) for names in followed.steps.values()}) == 1, "equal names are kept once"
    looked: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (looked.append(Path(path).name), scan(path))[1])
    assert not followed.look() and looked == ["samples", "step_000990"]
    looked.clear()
    evaluate(1000)
    assert followed.look() and sorted(looked) == ["samples", "step_000990", "step_001000"]


def test_a_run_without_samples_has_none(run: RunFolder) -> None:
    followed = SampleNames(run)
    assert not followed.look() and followed.steps == {} and followed.references == ()
    run.samples.rmdir()
    assert not followed.look()
