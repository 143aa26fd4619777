"""The terms of the loss, per sample, as pure functions.

L = -reward_weight (R - reward_mean) / reward_std + kl_weight KL + anchor_weight A.
"""

from __future__ import annotations

from torch import Tensor


def reward_loss(rewards: Tensor, *, weight: float, mean: float, std: float) -> Tensor:
    """-weight (R - mean) / std for rewards [B] in units of cosine similarity."""
    return -weight * (rewards - mean) / std


def divergence(velocity: Tensor, reference: Tensor, sigma: float) -> Tensor:
    """KL of one step, [B]: mean over a sample of (v - v_ref)^2 / (2 sigma^2), for velocities [B, 16, T, h, w]."""
    return ((velocity - reference).square() / (2 * sigma**2)).flatten(1).mean(dim=1)


def anchor(velocity: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
    """Flow matching on real latents, [B]: mean over a sample of (v - (noise - clean))^2."""
    return (velocity - (noise - clean)).square().flatten(1).mean(dim=1)
