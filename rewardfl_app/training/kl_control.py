"""A weight of the divergence that holds a target (Ziegler et al. 2019, arXiv 1909.08593, section 2.2).

e = clip(KL / target - 1, -0.2, 0.2),   weight <- weight (1 + 0.1 e)
"""

from __future__ import annotations

_CLIP = 0.2
_GAIN = 0.1


def adapted(weight: float, divergence: float | None, target: float) -> float:
    """The weight after an update whose divergence was measured (None: it was not, nothing changes)."""
    if divergence is None:
        return weight
    error = min(max(divergence / target - 1.0, -_CLIP), _CLIP)
    return weight * (1.0 + _GAIN * error)
