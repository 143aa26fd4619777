"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is loaded, here or in a child process. As many tests run beside each other as there are processors: an
# operation on two threads would wait for the one of them that another test has pushed aside.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent

# A busy machine is not a fault of what is tested.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: a test often waits for a browser, a child process or a timer."""
    return min((os.cpu_count() or 1) + 1, 4)


@pytest.fixture(autouse=True)
def devices_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run beside each other do not wait for each other's devices; none is a rank of a test before it."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REWARDFL_STATE_DIR", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="session")
def real_faces() -> Path:
    """Folder with real clips, metadata.csv and a face pack; the test is skipped where there is none."""
    folder = Path(os.environ.get("REWARDFL_REAL_FACES") or ROOT.parent / "shared" / "real_faces")
    if not (folder / "metadata.csv").is_file():
        pytest.skip(f"no real faces in {folder}; set REWARDFL_REAL_FACES")
    return folder


@pytest.fixture
def moving_bars() -> NDArray[np.uint8]:
    """Frames uint8 [17, 64, 64, 3]: a bright bar that moves two pixels a frame over coloured quarters."""
    frames = np.zeros((17, 64, 64, 3), np.uint8)
    frames[:, :32, :32] = (220, 40, 40)
    frames[:, 32:, :32] = (40, 200, 60)
    frames[:, :32, 32:] = (50, 60, 210)
    frames[:, 32:, 32:] = (200, 160, 120)
    for index in range(len(frames)):
        frames[index, :, 2 * index : 2 * index + 4] = 255
    return frames
