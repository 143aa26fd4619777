"""What the benches are tried on."""

from __future__ import annotations

import pytest

from rewardfl_app.bench.workload import changed
from rewardfl_app.cli import bench as command
from rewardfl_app.config import files, presets
from rewardfl_app.config.schema import Config


@pytest.fixture(scope="session")
def pocket(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The smallest useful setting of the embedded family: one video of nine frames, two gradient steps."""
    run = command._frozen(presets.preset("pocket"), tmp_path_factory.mktemp("bench"))
    return changed(
        files.load(run.config),
        data={"num_frames": 9},
        train={"per_device_train_batch_size": 1, "train_batch_size": 1},
        deepspeed={"num_processes": 1},
        sampling={"num_inference_steps": 8, "mid_timestep": 6, "final_timestep": 7},
    )
