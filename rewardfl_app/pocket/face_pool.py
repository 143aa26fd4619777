"""A pool of still portraits on disk: families of two look-alikes, several views each, for the face models."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardfl_app.pocket import motion, portrait
from rewardfl_app.pocket.clips import SIZE
from rewardfl_app.pocket.renderer import render, sample_scene

log = logging.getLogger(__name__)

NUM_VIEWS = 6
SIBLING_MIX = (0.3, 0.8)  # how far the second member of a family is from the first, on the way to a stranger


@dataclass(frozen=True)
class FacePool:
    """`images` uint8 [families, 2, views, H, W, 3]; `boxes` [..., 4] and `landmarks` [..., 5, 2] in pixels."""

    images: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray


def ensure(folder: Path, num_families: int, seed: int) -> FacePool:
    """Render the pool once; a finished pool in `folder` of the same size is reused."""
    paths = [folder / f"{name}.npy" for name in ("images", "boxes", "landmarks")]
    if paths[2].exists() and len(np.load(paths[2], mmap_mode="r", allow_pickle=False)) == num_families:
        boxes, landmarks = (np.load(path, allow_pickle=False) for path in paths[1:])
        return FacePool(np.load(paths[0], mmap_mode="r", allow_pickle=False), boxes, landmarks)
    folder.mkdir(parents=True, exist_ok=True)
    shape = (num_families, 2, NUM_VIEWS)
    images = np.lib.format.open_memmap(paths[0], mode="w+", dtype=np.uint8, shape=(*shape, SIZE, SIZE, 3))
    boxes, landmarks = np.zeros((*shape, 4), np.float32), np.zeros((*shape, 5, 2), np.float32)
    for family in range(num_families):
        rng = np.random.default_rng((seed, family))
        first, stranger = portrait.sample_identity(rng), portrait.sample_identity(rng)
        members = (first, portrait.mix(first, stranger, rng.uniform(*SIBLING_MIX)))
        for member, identity in enumerate(members):
            drawing = render(
                np.repeat(identity[None], NUM_VIEWS, 0),
                sample_views(rng, NUM_VIEWS),
                np.stack([sample_scene(rng) for _ in range(NUM_VIEWS)]),
                SIZE,
            )
            images[family, member] = drawing.images
            boxes[family, member], landmarks[family, member] = drawing.boxes, drawing.landmarks
        if family % 500 == 0:
            log.info("face pool: %d of %d families", family, num_families)
    images.flush()
    np.save(paths[1], boxes)
    np.save(paths[2], landmarks)
    return FacePool(np.load(paths[0], mmap_mode="r", allow_pickle=False), boxes, landmarks)


def sample_views(rng: np.random.Generator, num_views: int) -> dict[str, np.ndarray]:
    """Independent poses [num_views], each a random moment of a random action."""
    moments = []
    for _ in range(num_views):
        pose = motion.sample_pose(motion.sample_actions(rng), 17, rng)
        moments.append({name: curve[rng.integers(17)] for name, curve in pose.items()})
    return {name: np.array([moment[name] for moment in moments], np.float32) for name in moments[0]}
