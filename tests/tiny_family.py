"""A tiny model with clips to train it on, and configurations for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tiny_wan

from rewardfl_app.config import files, validation
from rewardfl_app.data import video
from rewardfl_app.runs.folder import RunFolder


def make_family(folder: Path) -> Path:
    """A tiny pipeline in `wan/`, and `metadata.csv` with six clips of 9 frames, 32 x 32."""
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


# Of what `make_single_family` makes.
SINGLE = {
    "model": {"model_name": "wan2_2_5b", "trainable_models": "dit", "min_timestep_boundary": 0.0},
    "data": {"num_frames": 9, "height": 64, "width": 64, "max_pixels": 4096},
    "lora": {"lora_base_model": "dit", "lora_rank": 2},
    "reward": {"anchor_weight": 0.1},
}


def make_single_family(folder: Path) -> Path:
    """A tiny Wan2.2-TI2V-5B in `wan/`, and `metadata.csv` with four clips of 9 frames, 70 x 100."""
    tiny_wan.save_single(folder / "wan")
    generator, lines = np.random.default_rng(0), ["video,prompt"]
    for index in range(4):
        frames = generator.integers(0, 255, (1, 70, 100, 3)).repeat(9, 0) + np.arange(9)[:, None, None, None]
        video.write(folder / f"clip{index}.mp4", np.clip(frames, 0, 255).astype(np.uint8), fps=8)
        lines.append(f"clip{index}.mp4,a woman turns {index}")
    (folder / "none.onnx").touch()  # as in `make_family`
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


def make_run(family: Path, runs_dir: Path, name: str, **changes: dict[str, Any]) -> RunFolder:
    """A run folder with its frozen configuration, as the supervisor leaves it for the trainer."""
    run = RunFolder.create(runs_dir, name)
    files.dump(validation.build(settings(family, changes)), run.config)
    return run
