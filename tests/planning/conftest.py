"""A pocket configuration as a run has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.schema import Config
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import freeze


@pytest.fixture
def frozen_pocket(tmp_path: Path) -> Callable[[Sequence[str]], Config]:
    """The preset with changes, its files filled in."""

    def frozen(changes: Sequence[str]) -> Config:
        mapping = files.override(files.to_mapping(presets.preset("pocket")), changes)
        config = freeze.with_embedded_scorers(validation.build(mapping))
        run = RunFolder(tmp_path / "run")
        run.path.mkdir()
        return freeze.with_embedded_models(freeze.with_embedded_data(config, tmp_path), run)

    return frozen
