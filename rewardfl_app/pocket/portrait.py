"""Who is in the picture: a drawn identity as one flat vector, so that two identities mix by linear interpolation.

Categorical traits (hair style, glasses, beard) are stored as opacities, one column per choice; a mixture of two
people therefore cross-fades their hair instead of jumping, which is what a drifting identity looks like.
"""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import ArrayLike

HAIR_STYLES = ("bald", "short", "spiky", "curly", "long", "bob", "bun", "swept")
GLASSES = ("none", "round", "square")
BEARDS = ("none", "stubble", "full", "goatee")

# name -> width; colours are RGB in [0, 1], lengths are in head units (half the head's height is 1).
_FIELDS: dict[str, int] = {
    "skin": 3,
    "hair_colour": 3,
    "hair_style": len(HAIR_STYLES),
    "iris": 3,
    "lips": 3,
    "glasses": len(GLASSES),
    "glasses_colour": 3,
    "beard": len(BEARDS),
    "moustache": 1,
    "freckles": 1,
    "blush": 1,
    "face_width": 1,
    "jaw": 1,
    "eye_size": 1,
    "eye_spacing": 1,
    "eye_height": 1,
    "brow_thickness": 1,
    "brow_angle": 1,
    "brow_height": 1,
    "nose_length": 1,
    "nose_width": 1,
    "mouth_width": 1,
    "mouth_height": 1,
    "lip_thickness": 1,
    "ear_size": 1,
    "earrings": 1,
    "hairline": 1,
    "woman": 1,
}

SLICES: dict[str, slice] = {}
_start = 0
for _name, _width in _FIELDS.items():
    SLICES[_name] = slice(_start, _start + _width)
    _start += _width
WIDTH = _start

_SKINS = np.array(
    [
        [1.0, 0.87, 0.77],
        [0.97, 0.80, 0.66],
        [0.91, 0.70, 0.53],
        [0.78, 0.56, 0.40],
        [0.62, 0.42, 0.28],
        [0.44, 0.28, 0.19],
    ]
)
_NATURAL_HAIR = np.array(
    [
        [0.09, 0.07, 0.09],
        [0.27, 0.16, 0.10],
        [0.45, 0.29, 0.14],
        [0.90, 0.74, 0.36],
        [0.78, 0.30, 0.10],
        [0.66, 0.67, 0.69],
    ]
)
_HAIR_WORDS = ("black", "dark brown", "brown", "blonde", "red", "grey", "blue", "pink", "green", "purple")
_DYED_HAIR = np.array([[0.20, 0.40, 0.90], [0.95, 0.45, 0.70], [0.25, 0.70, 0.45], [0.55, 0.30, 0.80]])
_ALL_HAIR = np.concatenate([_NATURAL_HAIR, _DYED_HAIR])
_IRISES = np.array([[0.25, 0.45, 0.85], [0.20, 0.55, 0.35], [0.40, 0.24, 0.12], [0.20, 0.13, 0.10], [0.45, 0.55, 0.60]])


def field(identity: np.ndarray, name: str) -> np.ndarray:
    """Columns of one trait of `identity` [..., WIDTH]: [..., width of the trait], the last axis dropped if 1."""
    columns = identity[..., SLICES[name]]
    return columns[..., 0] if _FIELDS[name] == 1 else columns


def sample_identity(rng: np.random.Generator) -> np.ndarray:
    """One random person, [WIDTH] float32."""
    identity = np.zeros(WIDTH, np.float32)

    def put(name: str, value: ArrayLike) -> None:
        identity[SLICES[name]] = value

    woman = float(rng.random() < 0.5)
    put("woman", woman)
    tone = rng.uniform(0, len(_SKINS) - 1.001)
    low = int(tone)
    skin = _SKINS[low] * (1 - (tone - low)) + _SKINS[low + 1] * (tone - low)
    put("skin", np.clip(skin + rng.normal(0, 0.02, 3), 0, 1))
    palette = _NATURAL_HAIR if rng.random() < 0.7 else _DYED_HAIR
    hair = np.clip(palette[rng.integers(len(palette))] + rng.normal(0, 0.035, 3), 0.02, 1)
    put("hair_colour", hair)
    weights = np.array([0, 2, 1, 2, 5, 4, 3, 2] if woman else [2, 5, 4, 3, 0.7, 0.3, 0.5, 3], float)
    put("hair_style", np.eye(len(HAIR_STYLES))[rng.choice(len(HAIR_STYLES), p=weights / weights.sum())])
    put("iris", np.clip(_IRISES[rng.integers(len(_IRISES))] + rng.normal(0, 0.04, 3), 0, 1))
    lips = (
        skin * 0.72 + np.array([0.14, 0.0, 0.02])
        if not woman
        else np.array(colorsys.hsv_to_rgb(rng.uniform(0.93, 1.02) % 1, rng.uniform(0.5, 0.8), rng.uniform(0.55, 0.9)))
    )
    put("lips", np.clip(lips, 0, 1))
    put("glasses", np.eye(3)[rng.choice(3, p=[0.62, 0.2, 0.18])])
    put("glasses_colour", np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.6))))
    put("beard", np.eye(4)[0 if woman else rng.choice(4, p=[0.45, 0.17, 0.25, 0.13])])
    put("moustache", 0.0 if woman else float(rng.random() < 0.3))
    put("freckles", float(rng.random() < 0.2))
    put("blush", rng.uniform(0, 0.55) * (1.0 if woman else 0.5))
    put("face_width", rng.uniform(0.66, 0.86) - 0.02 * woman)
    put("jaw", rng.uniform(0.02, 0.34) + 0.06 * woman)
    put("eye_size", rng.uniform(0.15, 0.225) + 0.012 * woman)
    put("eye_spacing", rng.uniform(0.29, 0.38))
    put("eye_height", rng.uniform(-0.12, 0.04))
    put("brow_thickness", rng.uniform(0.035, 0.085) - 0.012 * woman)
    put("brow_angle", rng.uniform(-0.35, 0.35))
    put("brow_height", rng.uniform(0.24, 0.36))
    put("nose_length", rng.uniform(0.22, 0.40))
    put("nose_width", rng.uniform(0.07, 0.16))
    put("mouth_width", rng.uniform(0.20, 0.36))
    put("mouth_height", rng.uniform(0.56, 0.67))
    put("lip_thickness", rng.uniform(0.035, 0.075) + 0.015 * woman)
    put("ear_size", rng.uniform(0.11, 0.18))
    put("earrings", float(rng.random() < (0.35 if woman else 0.05)))
    put("hairline", rng.uniform(-0.58, -0.36))
    return identity


def mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
    """Identity between `a` (weight 0) and `b` (weight 1); a `weight` of shape [T] gives [T, WIDTH]."""
    w = np.asarray(weight, np.float32)[..., None]
    return (a * (1 - w) + b * w).astype(np.float32)


def describe(identity: np.ndarray) -> str:
    """The words of the prompt for one person, e.g. "a woman with long red hair and glasses"."""
    noun = "woman" if field(identity, "woman") > 0.5 else "man"
    colour = _HAIR_WORDS[int(np.argmin(((_ALL_HAIR - field(identity, "hair_colour")) ** 2).sum(1)))]
    style = HAIR_STYLES[int(np.argmax(field(identity, "hair_style")))]
    hair = {"bald": "a bald head", "bun": f"a {colour} bun", "bob": f"a {colour} bob"}.get(
        style, f"{style} {colour} hair"
    )
    extras = []
    if field(identity, "glasses")[0] < 0.5:
        extras.append("glasses")
    beard = BEARDS[int(np.argmax(field(identity, "beard")))]
    if beard != "none":
        extras.append({"stubble": "stubble", "full": "a beard", "goatee": "a goatee"}[beard])
    return f"a {noun} with {hair}" + "".join(f" and {extra}" for extra in extras)
