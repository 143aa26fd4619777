from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_wan
import torch

from rewardfl_app.models import wan


@pytest.fixture(scope="session")
def saved_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_wan")
    tiny_wan.save(folder)
    return folder


@pytest.fixture
def pipeline_folder(saved_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved_pipeline, tmp_path / "pipeline"))


@pytest.fixture
def model(saved_pipeline: Path) -> wan.WanModel:
    torch.manual_seed(0)
    return wan.load(tiny_wan.model_config(saved_pipeline))
