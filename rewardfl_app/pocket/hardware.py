"""Where the pocket models are trained: a GPU when there is one, else the CPU."""

from __future__ import annotations

import torch


def device() -> str:
    """ "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"
