"""The embedded data set: rendered people as mp4 files and metadata.csv, and other people for evaluation."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from rewardfl_app.data import video
from rewardfl_app.pocket.clips import FPS, sample_clip

NUM_TRAIN = 48
NUM_EVALUATION = 16
# Seeds apart from those of the training pools: nobody in the data set was seen by a pocket model.
_TRAIN_SEED, _EVALUATION_SEED = 1_000_003, 2_000_003
_VERSION = "2"


def ensure(folder: Path) -> tuple[Path, Path]:
    """Render the data set into `folder` once (about two seconds) and return (training csv, evaluation csv).

    The two share nobody. Raises OSError when `folder` cannot be written.
    """
    train, evaluation = folder / "metadata.csv", folder / "metadata_eval.csv"
    marker = folder / "version.txt"
    if marker.exists() and marker.read_text() == _VERSION:
        return train, evaluation
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".pocket_data_", dir=folder.parent))
    try:
        _write(work / "metadata.csv", "train", NUM_TRAIN, _TRAIN_SEED)
        _write(work / "metadata_eval.csv", "eval", NUM_EVALUATION, _EVALUATION_SEED)
        (work / "version.txt").write_text(_VERSION)
        if folder.exists():  # an older or a torn data set; renamed first, so that no reader finds it half gone
            os.replace(folder, work / "old")
        os.replace(work, folder)
    except OSError:
        if not (marker.exists() and marker.read_text() == _VERSION):  # else another process was quicker
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(folder / "old", ignore_errors=True)
    return train, evaluation


def _write(path: Path, name: str, num_clips: int, seed: int) -> None:
    rows = []
    for index in range(num_clips):
        clip = sample_clip(np.random.default_rng((seed, index)))
        file = f"{name}_{index:03d}.mp4"
        video.write(path.parent / file, clip.drawing.images, FPS)
        rows.append((file, clip.prompt))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("video", "prompt"))
        writer.writerows(rows)
