"""What the person does: actions as smooth pose curves, and the words that name them in the prompt."""

from __future__ import annotations

import numpy as np

from rewardfl_app.pocket.renderer import neutral_pose

ACTIONS = (
    "turns left",
    "turns right",
    "looks up",
    "looks down",
    "shakes the head",
    "nods",
    "tilts the head",
    "leans in",
    "blinks",
    "talks",
    "smiles",
)
_BIG = ACTIONS[:8]  # actions that move the head; every clip has one of them


def sample_actions(rng: np.random.Generator) -> list[str]:
    """One action that moves the head, and often a second one."""
    first = str(rng.choice(_BIG))
    if rng.random() < 0.4:
        return [first]
    second = str(
        rng.choice([action for action in ACTIONS if action != first and action.split()[0] != first.split()[0]])
    )
    return [first, second]


def sample_pose(actions: list[str], num_frames: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Pose curves [num_frames]: a random start, then the actions; angles in radians, positions in half frames."""
    t = np.linspace(0, 1, num_frames, dtype=np.float32)
    pose = neutral_pose(num_frames)
    pose["yaw"] += rng.normal(0, 0.13)
    pose["pitch"] += rng.normal(0, 0.10)
    pose["roll"] += rng.normal(0, 0.04)
    pose["x"] += rng.normal(0, 0.06)
    pose["y"] += rng.normal(0, 0.03)
    pose["zoom"] *= rng.uniform(0.92, 1.08)
    pose["light"] += rng.uniform(-0.8, 0.8)
    pose["smile"] += rng.uniform(-0.15, 0.35)
    ease = t * t * (3 - 2 * t)
    for action in actions:
        size = rng.uniform(0.8, 1.2)
        wave = np.sin(2 * np.pi * (t * rng.uniform(1.2, 1.8)))
        match action:
            case "turns left":
                pose["yaw"] -= 0.55 * size * ease
                pose["x"] -= 0.05 * size * ease
            case "turns right":
                pose["yaw"] += 0.55 * size * ease
                pose["x"] += 0.05 * size * ease
            case "looks up":
                pose["pitch"] -= 0.50 * size * ease
            case "looks down":
                pose["pitch"] += 0.45 * size * ease
            case "shakes the head":
                pose["yaw"] += 0.38 * size * wave
            case "nods":
                pose["pitch"] += 0.32 * size * wave
                pose["y"] += 0.03 * size * wave
            case "tilts the head":
                pose["roll"] += 0.26 * size * ease * rng.choice([-1, 1])
            case "leans in":
                pose["zoom"] *= 1 + 0.20 * size * ease
                pose["y"] += 0.04 * size * ease
            case "blinks":
                centre = rng.uniform(0.3, 0.7)
                pose["eye_open"] *= 1 - np.exp(-(((t - centre) / 0.09) ** 2))
            case "talks":
                pose["mouth_open"] += (
                    np.abs(np.sin(2 * np.pi * t * rng.uniform(1.5, 2.2))) * 0.75 * size * np.minimum(1, 4 * t)
                )
            case "smiles":
                pose["smile"] += 0.75 * size * ease
    return {name: np.asarray(curve, np.float32) for name, curve in pose.items()}


def join(actions: list[str]) -> str:
    """The words of the prompt: "turns left and smiles"."""
    return " and ".join(actions)
