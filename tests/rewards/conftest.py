from __future__ import annotations

from pathlib import Path

import pytest
import torch
from face_graphs import pack_folder

from rewardfl_app.rewards.pack import FacePack, load_pack


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def small_pack_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_folder(tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="session")
def small_pack(small_pack_folder: Path) -> FacePack:
    return load_pack(small_pack_folder)
