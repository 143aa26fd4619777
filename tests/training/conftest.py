from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_wan

from rewardfl_app.config import files, validation
from rewardfl_app.config.schema import Config
from rewardfl_app.data import video
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor.process import free_port
from rewardfl_app.training.engine import Ranks

MakeRun = Callable[..., RunFolder]


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pipeline in `wan/`, and `metadata.csv` with six clips of 9 frames, 32 x 32."""
    folder = tmp_path_factory.mktemp("family")
    tiny_wan.save(folder / "wan")
    generator = np.random.default_rng(0)
    lines = ["video,prompt"]
    for index in range(6):
        colours = generator.integers(0, 255, (1, 2, 2, 3)).repeat(16, 1).repeat(16, 2).repeat(9, 0)
        drift = np.arange(9)[:, None, None, None] * 2
        video.write(folder / f"clip{index}.mp4", np.clip(colours + drift, 0, 255).astype(np.uint8), fps=8)
        lines.append(f"clip{index}.mp4,a woman turns {index}")
    (folder / "none.onnx").touch()  # the configuration wants a face pack; these tests score without one
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def settings(family: Path, changes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "model": {
            "model_name": "wan2_2",
            "model_paths": str(family / "wan" / "model_paths.json"),
            "tokenizer_path": str(family / "wan" / "tokenizer"),
            "dtype": "float32",
            "use_gradient_checkpointing": False,
            "use_gradient_checkpointing_offload": False,
        },
        "data": {
            "metadata_path": str(family / "metadata.csv"),
            "num_frames": 9,
            "height": 32,
            "width": 32,
            "max_pixels": 1024,
        },
        "sampling": {"num_inference_steps": 4, "mid_timestep": 2, "final_timestep": 3},
        "reward": {"reward_model_path": str(family), "kl_steps": "expert", "kl_weight": 0.5},
        "lora": {"lora_rank": 2},
        "train": {
            "train_batch_size": 2,
            "per_device_train_batch_size": 2,
            "max_steps": 4,
            "save_steps": 2,
            "learning_rate": 1e-2,
        },
        "evaluation": {"eval_steps": 2, "num_samples": 3, "batch_size": 2},
        "deepspeed": {"zero_stage": 0, "offload_optimizer": False},
    }
    return {section: {**values, **changes.get(section, {})} for section, values in base.items()}


@pytest.fixture
def make_config(family: Path) -> Callable[..., Config]:
    def make(**changes: dict[str, Any]) -> Config:
        return validation.build(settings(family, changes))

    return make


@pytest.fixture
def make_run(make_config: Callable[..., Config], tmp_path: Path) -> MakeRun:
    def make(name: str, **changes: dict[str, Any]) -> RunFolder:
        run = RunFolder.create(tmp_path / "runs", name)
        files.dump(make_config(**changes), run.config)
        return run

    return make


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's environment for a single process."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    # DeepSpeed keeps the first group of a process for good, so the tests of one process share it.
    monkeypatch.setattr(Ranks, "leave", lambda self: None)
