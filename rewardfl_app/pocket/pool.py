"""A pool of rendered clips on disk: the training set of the pocket video models."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardfl_app.pocket.clips import NUM_FRAMES, SIZE, sample_clip

log = logging.getLogger(__name__)

# Part of the base model's training videos drift toward somebody else, on purpose: Reward FL has something to mend.
DRIFT_SHARE = 0.6
DRIFT_RANGE = (0.25, 0.75)


@dataclass(frozen=True)
class Pool:
    """`frames` uint8 [N, T, H, W, 3] (memory-mapped), `boxes` [N, T, 4] in pixels, one prompt per clip."""

    frames: np.ndarray
    boxes: np.ndarray
    prompts: list[str]


def ensure(folder: Path, num_clips: int, seed: int = 1) -> Pool:
    """Render the pool into `folder` once; a finished pool of the same size and seed is reused."""
    marker = folder / "prompts.json"
    frames_path, boxes_path = folder / "frames.npy", folder / "boxes.npy"
    if marker.exists() and len(stored := json.loads(marker.read_text())) == num_clips:
        frames = np.load(frames_path, mmap_mode="r", allow_pickle=False)
        return Pool(frames, np.load(boxes_path, allow_pickle=False), stored)
    folder.mkdir(parents=True, exist_ok=True)
    shape = (num_clips, NUM_FRAMES, SIZE, SIZE, 3)
    frames = np.lib.format.open_memmap(frames_path, mode="w+", dtype=np.uint8, shape=shape)
    boxes = np.zeros((num_clips, NUM_FRAMES, 4), np.float32)
    prompts = []
    for index in range(num_clips):
        rng = np.random.default_rng((seed, index))
        drift = rng.uniform(*DRIFT_RANGE) if rng.random() < DRIFT_SHARE else 0.0
        clip = sample_clip(rng, drift)
        frames[index], boxes[index] = clip.drawing.images, clip.drawing.boxes
        prompts.append(clip.prompt)
        if index % 500 == 0:
            log.info("pool: %d of %d clips", index, num_clips)
    frames.flush()
    np.save(boxes_path, boxes)
    marker.write_text(json.dumps(prompts))
    return Pool(np.load(frames_path, mmap_mode="r", allow_pickle=False), boxes, prompts)
