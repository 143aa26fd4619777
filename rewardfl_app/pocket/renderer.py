"""Draws portraits: signed-distance shapes, anti-aliased, vectorised over frames, with the exact box and five keypoints.

Head units: the head's centre is (0, 0), its top v = -1, its chin v = +1. A head turn (yaw, pitch) moves the features
over the skull, a tilt (roll) rotates the head, zoom and position place it in the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from rewardfl_app.pocket import portrait
from rewardfl_app.pocket.canvas import Canvas, capsule, circle, ellipse, length

HEAD_SCALE = 0.68  # half the head's height as a fraction of half the frame
POSE_FIELDS = ("yaw", "pitch", "roll", "x", "y", "zoom", "eye_open", "mouth_open", "smile", "light")
SCENE_WIDTH = 12  # two background colours, shirt colour, disc x, y, radius


@dataclass(frozen=True)
class Drawing:
    """Rendered frames: `images` uint8 [B, H, W, 3] RGB, `boxes` [B, 4] and `landmarks` [B, 5, 2] in pixels
    (eyes, nose tip, mouth corners; image-left first, insightface's order)."""

    images: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray


def neutral_pose(num_frames: int) -> Traits:
    """A face looking straight at the camera, one value per frame for each of POSE_FIELDS."""
    pose = {name: np.zeros(num_frames, np.float32) for name in POSE_FIELDS}
    pose["zoom"] += 1
    pose["eye_open"] += 1
    return pose


def sample_scene(rng: np.random.Generator) -> np.ndarray:
    """Background, shirt and disc of one clip, [SCENE_WIDTH] float32: not part of the identity."""
    grey = rng.uniform(0.55, 0.85)
    top = np.clip(grey + rng.uniform(-0.16, 0.16, 3), 0, 1)
    bottom = np.clip(0.75 * top + 0.25 * grey - rng.uniform(0.0, 0.22), 0, 1)
    shirt = rng.uniform(0.1, 0.85, 3)
    disc = [rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.4), rng.uniform(0.2, 0.8)]
    return np.concatenate([top, bottom, shirt, disc]).astype(np.float32)


Traits = dict[str, np.ndarray]


def render(identity: np.ndarray, pose: Traits, scene: np.ndarray, size: int = 64) -> Drawing:
    """Draw B square frames of `size` pixels: `identity` [B, WIDTH], `pose` of [B] arrays, `scene` [B, SCENE_WIDTH]."""
    p = {name: np.asarray(pose[name], np.float32)[:, None, None] for name in POSE_FIELDS}
    f = {name: portrait.field(identity, name) for name in portrait.SLICES}
    one = {name: value[:, None, None] for name, value in f.items() if value.ndim == 1}

    axis = (np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    scale = HEAD_SCALE * p["zoom"]
    cos, sin = np.cos(p["roll"]), np.sin(p["roll"])
    dx, dy = (x - p["x"]) / scale, (y - 0.10 - p["y"]) / scale
    u, v = cos * dx + sin * dy, -sin * dx + cos * dy  # head units
    squeeze = np.cos(p["yaw"] * 0.8)
    fu, fv = (u - 0.42 * np.sin(p["yaw"])) / squeeze, v - 0.30 * np.sin(p["pitch"])  # on the front of the face
    hu = u - 0.16 * np.sin(p["yaw"])  # hair sits further back than the features

    ramp = ((y + 1) / 2)[None]
    planes = [scene[:, c, None, None] * (1 - ramp) + scene[:, c + 3, None, None] * ramp for c in range(3)]
    canvas = Canvas(planes, (2.0 / size) / scale)
    disc = length(x - scene[:, 9, None, None], y - scene[:, 10, None, None]) - scene[:, 11, None, None]
    canvas.paint(lambda: disc / scale, np.clip(scene[:, 0:3] + 0.07, 0, 1), 0.8)

    hair, skin = f["hair_colour"], f["skin"]
    dark_hair, dark_skin = hair * 0.78, skin * 0.80
    style = f["hair_style"]
    width = one["face_width"]
    _paint_back_hair(canvas, hu, v, width, dark_hair, style)

    bx, by = (x - 0.5 * p["x"]) / HEAD_SCALE, (y - 0.3 * p["y"]) / HEAD_SCALE  # the body moves less than the head
    canvas.paint(lambda: ellipse(bx, by - 2.15, np.float32(1.35), np.float32(0.92)), scene[:, 6:9])
    canvas.paint(
        lambda: capsule(bx, by, dx[:, :1, :1] * 0, np.float32(0.7), p["x"] * 0, np.float32(1.28), 0.30 + 0.06 * width),
        dark_skin,
    )
    canvas.paint(lambda: ellipse(bx, by - 1.42, np.float32(0.42), np.float32(0.16)), scene[:, 6:9] * 0.85)

    for side in (-1.0, 1.0):
        _paint_ear(canvas, u, v, side, f, one, p, dark_skin)

    taper = np.clip((v + 0.1) / 1.1, 0, 1)
    local_width = width * (1 - one["jaw"] * taper * taper)
    face = (np.sqrt((u / local_width) ** 2 + v**2) - 1) * width
    shade = 1 - 0.10 * np.clip(0.6 * u * np.sign(p["light"] + 1e-6) + 0.5 * v, -0.3, 1) * (0.6 + np.abs(p["light"]))
    canvas.paint(lambda: face, skin, shade=shade)
    inside = canvas.coverage(face)

    _paint_features(canvas, fu, fv, inside, f, one, p, dark_skin)
    _paint_front_hair(canvas, hu, u, v, width, hair, style, one["hairline"], p)

    images = np.clip(np.stack(canvas.planes, -1) * 255 + 0.5, 0, 255).astype(np.uint8)
    return Drawing(images, *_geometry(f, pose, size))


def _paint_ear(
    canvas: Canvas, u: np.ndarray, v: np.ndarray, side: float, f: Traits, one: Traits, p: Traits, dark_skin: np.ndarray
) -> None:
    ear_u = u - side * one["face_width"] * (1 - 0.12 * side * np.sin(p["yaw"])) - 0.02 * np.sin(p["yaw"])
    canvas.paint(lambda: ellipse(ear_u, v - 0.08, one["ear_size"] * 0.75, one["ear_size"] * 1.15), dark_skin)
    canvas.paint(
        lambda: ellipse(ear_u, v - 0.32, np.float32(0.06), np.float32(0.06)),
        np.tile(np.array([[0.95, 0.8, 0.3]], np.float32), (len(u), 1)),
        f["earrings"],
    )


def _paint_back_hair(
    canvas: Canvas, u: np.ndarray, v: np.ndarray, width: np.ndarray, colour: np.ndarray, style: np.ndarray
) -> None:
    long, bob, curly = (style[:, portrait.HAIR_STYLES.index(name)] for name in ("long", "bob", "curly"))
    zero = np.zeros_like(width)
    canvas.paint(lambda: capsule(u, v, zero, zero - 0.15, zero, zero + 1.25, width * 1.02 + 0.12), colour, long)
    canvas.paint(lambda: capsule(u, v, zero, zero - 0.15, zero, zero + 0.40, width * 1.02 + 0.14), colour, bob)
    angle = np.arctan2(v + 0.15, u)
    canvas.paint(lambda: length(u, v + 0.22) - (width + 0.34 + 0.05 * np.cos(9 * angle)), colour, curly)


def _paint_front_hair(
    canvas: Canvas,
    hu: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    width: np.ndarray,
    colour: np.ndarray,
    style: np.ndarray,
    hairline: np.ndarray,
    p: Traits,
) -> None:
    opacity = {name: style[:, index] for index, name in enumerate(portrait.HAIR_STYLES)}
    glow = 1.05 - 0.22 * np.clip(v + 1.0, 0, 1)
    skull = ellipse(hu * 0.5 + u * 0.5, v, width * 1.07, np.float32(1.09) + 0 * width)
    line = hairline + 0.22 * np.sin(p["pitch"])

    def above(edge: np.ndarray) -> np.ndarray:
        return np.maximum(skull, v - edge)

    parted = line + 0.55 * np.abs(hu + 0.10) ** 1.5
    canvas.paint(lambda: above(line + 0.9 * np.clip(np.abs(hu) - 0.45, 0, 1)), colour, opacity["short"], shade=glow)
    teeth = 0.10 * np.abs(((hu * 3.2) % 1) - 0.5)
    spiky = np.maximum(ellipse(hu, v + 0.05, width * 1.08, 1.20 - 2.2 * teeth), v - line - 2.0 * teeth + 0.05)
    canvas.paint(lambda: spiky, colour, opacity["spiky"], shade=glow)
    canvas.paint(
        lambda: np.maximum(
            length(hu, v + 0.35) - (width + 0.18 + 0.04 * np.cos(14 * np.arctan2(v + 0.35, hu))),
            v - line - 0.05 * np.cos(hu * 18),
        ),
        colour,
        opacity["curly"],
        shade=glow,
    )
    canvas.paint(lambda: above(parted), colour, opacity["long"], shade=glow)
    canvas.paint(
        lambda: above(line + 0.16 + 0.45 * np.clip(np.abs(hu) - 0.5, 0, 1)), colour, opacity["bob"], shade=glow
    )
    canvas.paint(lambda: above(line + 0.30 * hu * hu), colour, opacity["bun"], shade=glow)
    canvas.paint(lambda: ellipse(hu, v + 1.18, np.float32(0.30), np.float32(0.26)), colour, opacity["bun"], shade=glow)
    canvas.paint(lambda: above(line + 0.10 + 0.42 * (hu - 0.1)), colour, opacity["swept"], shade=glow)


def _paint_features(
    canvas: Canvas,
    u: np.ndarray,
    v: np.ndarray,
    inside: np.ndarray,
    f: Traits,
    one: Traits,
    p: Traits,
    dark_skin: np.ndarray,
) -> None:
    batch = u.shape[0]
    hair = f["hair_colour"]
    mouth_v = one["mouth_height"] + 0.02 * p["smile"]
    mouth_w = one["mouth_width"] * (1 + 0.22 * p["smile"] - 0.15 * p["mouth_open"])

    for side in (-1.0, 1.0):
        _paint_cheek(canvas, u - side * 0.43, side, v, inside, f, one, dark_skin)

    # beard: everything below a curve that leaves the mouth and the cheeks free
    chin = -(v - 0.40 - 0.55 * np.clip(0.55 - np.abs(u), 0, 1) * 0.3 + 0.55 * np.clip(np.abs(u) - 0.35, 0, 1))
    free = 0.16 - length(u / 1.6, (v - mouth_v) / 0.9)
    full = np.maximum(chin, free)
    canvas.paint(lambda: full, hair * 0.92, f["beard"][:, 2], inside)
    canvas.paint(lambda: chin, hair * 0.5 + f["skin"] * 0.5, 0.45 * f["beard"][:, 1], inside)
    canvas.paint(
        lambda: ellipse(u, v - 0.90, np.float32(0.20), np.float32(0.20)), hair * 0.92, f["beard"][:, 3], inside
    )

    nose_v = one["eye_height"] + one["nose_length"] + 0.06
    canvas.paint(lambda: ellipse(u, v - nose_v, one["nose_width"], one["nose_width"] * 0.62), dark_skin * 0.95)
    canvas.paint(lambda: ellipse(u, v - nose_v + 0.035, one["nose_width"] * 0.9, one["nose_width"] * 0.62), f["skin"])
    canvas.paint(
        lambda: capsule(u, v, 0 * nose_v, nose_v - 0.13, 0 * nose_v, nose_v - 0.05, np.float32(0.035) + 0 * nose_v),
        np.clip(f["skin"] * 1.07, 0, 1),
        0.8,
    )

    curve = mouth_v + (0.16 * p["smile"] + 0.02) * (1 - (u / mouth_w) ** 2) - 0.08 * p["smile"]
    thickness = one["lip_thickness"] * np.sqrt(np.clip(1.05 - (u / mouth_w) ** 2, 0.02, 1))
    outside = (np.abs(u) - mouth_w) * 1.0
    opening = 0.17 * p["mouth_open"] * np.sqrt(np.clip(1 - (u / mouth_w) ** 2, 0, 1))
    lips = np.maximum(np.abs(v - curve) - thickness - opening, outside)
    canvas.paint(lambda: lips, f["lips"])
    dark = np.tile(np.array([[0.25, 0.07, 0.09]], np.float32), (batch, 1))
    canvas.paint(
        lambda: np.maximum(np.abs(v - curve) - opening + 0.01, outside),
        dark,
        np.clip(p["mouth_open"] * 4, 0, 1)[:, 0, 0],
    )
    canvas.paint(
        lambda: np.maximum(np.abs(v - curve) - 0.012, outside + 0.02),
        f["lips"] * 0.6,
        np.clip(1 - p["mouth_open"] * 4, 0, 1)[:, 0, 0],
    )
    canvas.paint(
        lambda: ellipse(np.abs(u) - 0.11, v - mouth_v + 0.13, np.float32(0.16), np.float32(0.055)),
        hair * 0.92,
        f["moustache"],
    )

    for side in (-1.0, 1.0):
        _paint_eye(canvas, u - side * one["eye_spacing"], v - one["eye_height"], side, f, one, p, dark_skin)
    size = one["eye_size"]
    bridge = np.maximum(np.abs(v - one["eye_height"]) - 0.022, np.abs(u) - (one["eye_spacing"] - size - 0.06))
    canvas.paint(lambda: bridge, f["glasses_colour"], 1 - f["glasses"][:, 0])


def _paint_cheek(
    canvas: Canvas,
    cu: np.ndarray,
    side: float,
    v: np.ndarray,
    inside: np.ndarray,
    f: Traits,
    one: Traits,
    dark_skin: np.ndarray,
) -> None:
    """Blush and freckles of one cheek; `cu` is measured from the cheek's centre."""
    rouge = np.clip(f["skin"] * np.array([1.0, 0.72, 0.72]) + np.array([0.06, 0, 0]), 0, 1)
    blot = length((cu - side * 0.03) / 0.24, (v - 0.30) / 0.17)
    canvas.paint(lambda: np.full_like(blot, -1), rouge, one["blush"] * np.clip(1 - blot, 0, 1), inside)
    for du, dv in ((-0.10, 0.0), (0.0, 0.07), (0.11, 0.01)):
        canvas.paint(
            partial(circle, cu + side * 0.03 - du, v - 0.24 - dv, 0.032), dark_skin * 0.85, f["freckles"], inside
        )


def _paint_eye(
    canvas: Canvas,
    eu: np.ndarray,
    ev: np.ndarray,
    side: float,
    f: Traits,
    one: Traits,
    p: Traits,
    dark_skin: np.ndarray,
) -> None:
    """One eye with its brow and its half of the glasses; (eu, ev) are measured from the eye's centre."""
    size, hair = one["eye_size"], f["hair_colour"]
    white = np.full((len(eu), 3), 0.97, np.float32)
    black = np.full((len(eu), 3), 0.06, np.float32)
    opened = np.clip(p["eye_open"], 0.2, 1.2)
    lid = ellipse(eu, ev, size * 1.08, size * 0.98 * opened)
    canvas.paint(lambda: lid - 0.02, dark_skin * 0.62)
    canvas.paint(lambda: lid, white)
    visible = canvas.coverage(lid)
    gaze_u, gaze_v = eu - 0.10 * np.sin(p["yaw"]), ev - 0.06 * np.sin(p["pitch"])
    canvas.paint(lambda: length(gaze_u, gaze_v) - size * 0.62, f["iris"], 1.0, visible)
    canvas.paint(lambda: length(gaze_u, gaze_v) - size * 0.30, black, 1.0, visible)
    canvas.paint(lambda: length(gaze_u + 0.05, gaze_v + 0.05) - size * 0.16, white, 0.9, visible)
    brow_v = ev + one["brow_height"] + 0.05 * (1 - opened) - 0.03 * p["smile"]
    tilt = side * one["brow_angle"] * 0.14
    canvas.paint(
        lambda: capsule(
            eu, brow_v, np.float32(-0.16) + 0 * size, -tilt, np.float32(0.16) + 0 * size, tilt, one["brow_thickness"]
        ),
        hair * 0.62,
    )
    frame = f["glasses_colour"]
    ring = np.abs(length(eu, ev) - (size + 0.075)) - 0.024
    canvas.paint(lambda: ring, frame, f["glasses"][:, 1])
    square = np.abs(np.maximum(np.abs(eu) - size - 0.075, np.abs(ev) - size - 0.02)) - 0.024
    canvas.paint(lambda: square, frame, f["glasses"][:, 2])


def _geometry(f: Traits, pose: Traits, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact box [B, 4] and landmarks [B, 5, 2] in pixels, by the same maps the painter inverts."""
    yaw, pitch, roll = (np.asarray(pose[name], np.float32) for name in ("yaw", "pitch", "roll"))
    scale = HEAD_SCALE * pose["zoom"]
    eye, mouth_w = f["eye_spacing"], f["mouth_width"] * (1 + 0.22 * pose["smile"] - 0.15 * pose["mouth_open"])
    nose_v = f["eye_height"] + f["nose_length"] + 0.06
    mouth_v = f["mouth_height"] - 0.06 * pose["smile"]
    front = np.stack(
        [
            np.stack([-eye, f["eye_height"]], -1),
            np.stack([eye, f["eye_height"]], -1),
            np.stack([0 * eye, nose_v], -1),
            np.stack([-mouth_w, mouth_v], -1),
            np.stack([mouth_w, mouth_v], -1),
        ],
        1,
    )
    u = front[..., 0] * np.cos(yaw * 0.8)[:, None] + 0.42 * np.sin(yaw)[:, None]
    v = front[..., 1] + 0.30 * np.sin(pitch)[:, None]
    u[:, 2] += 0.05 * np.sin(yaw)  # the tip stands out

    def to_pixels(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        cos, sin = np.cos(roll)[:, None], np.sin(roll)[:, None]
        x = (cos * u - sin * v) * scale[:, None] + np.asarray(pose["x"])[:, None]
        y = (sin * u + cos * v) * scale[:, None] + 0.10 + np.asarray(pose["y"])[:, None]
        return np.stack([(x + 1) * size / 2 - 0.5, (y + 1) * size / 2 - 0.5], -1)

    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    outline = to_pixels(f["face_width"][:, None] * np.cos(angle), 0.17 + 0.83 * np.sin(angle) + 0 * yaw[:, None])
    boxes = np.concatenate([outline.min(1), outline.max(1)], -1)
    return boxes.astype(np.float32), to_pixels(u, v).astype(np.float32)
