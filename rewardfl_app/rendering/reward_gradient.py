"""The gradient of a loss of the reward with respect to the latents that were decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.models import vae_sequence
from rewardfl_app.rewards.mixture import ClipReward

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    from rewardfl_app.config.schema import Config
    from rewardfl_app.rendering.scoring import ClipReference, Scorer

# Losses [B] in the graph of the totals of the clips' rewards, scaled and masked as they are to be summed.
Loss = Callable[[Sequence[ClipReward]], Tensor]


@dataclass(frozen=True)
class Pulled:
    """What a loss says of the latents of a batch.

    `adjoint` [B, 16, T', h, w]: d sum of losses / d latents, float32. `losses` [B]: detached, on the CPU. `results`:
    the reward of each clip, over all of its frames, detached.
    """

    adjoint: Tensor
    losses: Tensor
    results: list[ClipReward]


class RewardGradient:
    """Decodes, scores and takes the gradient, as `sampling` and `reward` of a configuration say."""

    def __init__(self, vae: AutoencoderKLWan, scorer: Scorer, config: Config) -> None:
        self._vae = vae
        self._scorer = scorer
        self._config = config

    def of(
        self, latents: Tensor, references: Sequence[ClipReference], loss: Loss, key: tuple[int, ...] = (0,)
    ) -> Pulled:
        """The gradient at normalised latents [B, 16, T', h, w].

        Args:
            references: of each clip.
            loss: the losses of the clips' rewards; what is not in the graph of a reward's total gets no gradient.
            key: seeds what is drawn.
        """
        final = latents.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            frames = vae_sequence.decode(self._vae, final)
            results = self._scorer.rewards(frames, references)
            losses = loss(results)
            adjoint = _gradients(losses, [final])[0]
        return Pulled(adjoint.float(), losses.detach().float().cpu(), [_detached(result) for result in results])


def _gradients(losses: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """d losses.sum() / d inputs; zero where the losses do not depend on them."""
    if not losses.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    return list(torch.autograd.grad(losses.sum(), inputs, materialize_grads=True))


def _detached(result: ClipReward) -> ClipReward:
    faces = replace(result.faces, reward=result.faces.reward.detach())
    return replace(result, total=result.total.detach(), faces=faces)
