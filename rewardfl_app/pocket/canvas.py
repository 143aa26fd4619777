"""Painting with signed distances: anti-aliased shapes on a stack of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Length = np.ndarray | np.float32
Shape = Callable[[], np.ndarray]  # a signed distance [B, H, W] in head units, computed only if it will be painted


class Canvas:
    """An RGB image stack, three planes [B, H, W], that shapes are painted on, back to front."""

    def __init__(self, planes: list[np.ndarray], edge: np.ndarray) -> None:
        self.planes = planes
        self._edge = 1 / edge  # one over the width of a pixel in the units of the distances, [B, 1, 1]

    def coverage(self, distance: np.ndarray) -> np.ndarray:
        """Share of each pixel that lies inside, 0 to 1, for signed distances [B, H, W]."""
        return np.clip(0.5 - distance * self._edge, 0, 1)

    def paint(
        self,
        shape: Shape,
        colour: np.ndarray,
        opacity: np.ndarray | float = 1.0,
        inside: np.ndarray | None = None,
        shade: np.ndarray | None = None,
    ) -> None:
        """Paint `colour` [B, 3] where the shape is negative: `opacity` [B] or [B, H, W], within the mask `inside`,
        multiplied by `shade` [B, H, W]."""
        weight = np.asarray(opacity, np.float32)
        if not np.any(weight > 0):
            return
        alpha = self.coverage(shape())
        if weight.ndim or weight != 1:
            alpha *= weight[:, None, None] if weight.ndim == 1 else weight
        if inside is not None:
            alpha *= inside
        for plane, value in zip(self.planes, colour.astype(np.float32).T, strict=True):
            paint = value[:, None, None]
            plane += alpha * ((paint if shade is None else paint * shade) - plane)


def length(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Euclidean length of (u, v), elementwise."""
    return np.sqrt(u * u + v * v)


def circle(u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance to a circle around the origin."""
    return length(u, v) - radius


def ellipse(u: np.ndarray, v: np.ndarray, a: Length, b: Length) -> np.ndarray:
    """Signed distance (exact only on the axes) to an ellipse of half-axes `a` and `b` around the origin."""
    return (np.sqrt((u / a) ** 2 + (v / b) ** 2) - 1) * np.minimum(a, b)


def capsule(u: np.ndarray, v: np.ndarray, ax: Length, ay: Length, bx: Length, by: Length, radius: Length) -> np.ndarray:
    """Signed distance to a line from (ax, ay) to (bx, by), `radius` thick on each side."""
    dx, dy = bx - ax, by - ay
    along = np.clip(((u - ax) * dx + (v - ay) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
    return length(u - ax - along * dx, v - ay - along * dy) - radius
