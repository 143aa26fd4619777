"""A configuration whose files all exist but are tiny, and the stand-in trainer, for tests that start runs."""

from __future__ import annotations

import csv
import json
import shlex
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rewardfl_app.config import validation
from rewardfl_app.config.schema import Config
from rewardfl_app.data import video
from rewardfl_app.supervisor.command import TRAINER_VARIABLE

FAKE_TRAINER = Path(__file__).parent / "supervisor" / "fake_trainer.py"
NUM_FRAMES = 5


def trainer_environment(behaviour: str) -> dict[str, str]:
    """The variable that puts the stand-in in the trainer's place."""
    return {TRAINER_VARIABLE: shlex.join([sys.executable, str(FAKE_TRAINER), behaviour])}


def write_safetensors(path: Path, num_bytes: int = 8) -> None:
    """A file of the format with one tensor of zeros."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(num_bytes))


def write_clips(folder: Path, names: tuple[str, ...] = ("a.mp4", "b.mp4"), num_frames: int = NUM_FRAMES) -> Path:
    """Short grey clips and the metadata.csv that lists them; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metadata.csv", "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "prompt"])
        for name in names:
            video.write(folder / name, np.full((num_frames, 32, 32, 3), 128, dtype=np.uint8), 8)
            writer.writerow([name, f"a portrait, {name}"])
    return folder / "metadata.csv"


def mapping(folder: Path) -> dict[str, Any]:
    """A valid configuration of the large family with files of a few bytes in `folder`."""
    weights = [folder / f"{name}.safetensors" for name in ("high", "low", "text", "vae")]
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "faces").mkdir()
    for file in weights:
        write_safetensors(file)
    for name in ("det.onnx", "rec.onnx"):
        (folder / "faces" / name).write_bytes(b"onnx")
    (folder / "paths.json").write_text(json.dumps([file.name for file in weights]))
    return {
        "model": {
            "model_name": "wan2_2",
            "model_paths": str(folder / "paths.json"),
            "tokenizer_path": str(folder / "tokenizer"),
        },
        "data": {"metadata_path": str(write_clips(folder / "clips")), "num_frames": NUM_FRAMES},
        "reward": {"reward_model_path": str(folder / "faces")},
        "train": {"train_batch_size": 1, "max_steps": 3},
    }


def config(folder: Path) -> Config:
    """The same as a checked configuration."""
    return validation.build(mapping(folder))


def eventually(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until the condition holds; fails after `seconds`, which only a hanging test reaches."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("what was waited for did not happen")
        time.sleep(0.01)
