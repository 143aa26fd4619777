"""Clips of drawn people: the world the pocket models are trained in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rewardfl_app.pocket import motion, portrait
from rewardfl_app.pocket.renderer import Drawing, render, sample_scene

NUM_FRAMES = 17
SIZE = 64
FPS = 8


@dataclass(frozen=True)
class Clip:
    """One rendered clip: `drawing.images` uint8 [T, H, W, 3], its prompt and the identity it starts from."""

    drawing: Drawing
    prompt: str
    identity: np.ndarray


def sample_clip(rng: np.random.Generator, drift: float = 0.0, num_frames: int = NUM_FRAMES, size: int = SIZE) -> Clip:
    """Draw one clip; over its course the identity drifts by the fraction `drift` toward somebody else (0 = stays)."""
    identity = portrait.sample_identity(rng)
    other = portrait.sample_identity(rng)
    hair_style = portrait.SLICES["hair_style"]
    other[hair_style] = identity[hair_style]  # a style cannot be half way; everything else can
    actions = motion.sample_actions(rng)
    ramp = np.linspace(0, 1, num_frames) ** 0.8
    identities = portrait.mix(identity, other, drift * ramp)
    pose = motion.sample_pose(actions, num_frames, rng)
    scene = np.repeat(sample_scene(rng)[None], num_frames, 0)
    prompt = f"{portrait.describe(identity)} {motion.join(actions)}"
    return Clip(render(identities, pose, scene, size), prompt, identity)
