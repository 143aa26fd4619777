"""The gradient of a loss of the reward with respect to the latents that were decoded.

Short clips take one graph: decode, score, loss. Otherwise there are three stages, none of which needs memory for the
whole clip's graph:

1. Decode chunk by chunk and find and embed the faces, without a graph; only embeddings stay.
2. d loss / d embeddings, through the pool, the people and the loss: a graph of a few vectors.
3. Decode again, last chunk first; in each the faces that have a gradient are embedded with a graph, which gives
   d loss / d frames, and the decoder's transpose takes it to the latents.

Rewards that look at whole videos get theirs as a leaf in stage 2 and add d loss / d frames in stage 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.models import sampling, vae_sequence
from rewardfl_app.models.vae_stream import ChunkedDecode, Decode, FrameGradient, GraphDecode
from rewardfl_app.rendering import face_windows
from rewardfl_app.rendering.face_gradients import FaceGradients
from rewardfl_app.rewards.mixture import ClipReward
from rewardfl_app.rewards.observation import FrameFaces

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
        self._chunk = config.sampling.decode_chunk
        self._margin = config.sampling.decode_margin if config.sampling.decode_region else None
        self._stride = config.reward.gradient_frame_stride

    def of(self, latents: Tensor, references: Sequence[ClipReference], loss: Loss, key: tuple[int, ...]) -> Pulled:
        """The gradient at normalised latents [B, 16, T', h, w].

        Args:
            references: of each clip.
            loss: the losses of the clips' rewards; what is not in the graph of a reward's total gets no gradient.
            key: seeds what is drawn, see `sampling.seeded_generator`.
        """
        latents = latents.detach()
        in_one_piece = self._chunk is None or self._chunk >= latents.shape[2]
        if in_one_piece and self._margin is None and self._stride == 1:
            return self._by_one_graph(latents, references, loss)
        return self._in_stages(latents, references, loss, key)

    def _by_one_graph(self, latents: Tensor, references: Sequence[ClipReference], loss: Loss) -> Pulled:
        latents = latents.clone().requires_grad_(True)
        with torch.enable_grad():
            results = self._scorer.rewards(vae_sequence.decode(self._vae, latents), references)
            losses = loss(results)
            (adjoint,) = _gradients(losses, [latents])
        return _pulled(torch.zeros_like(latents) if adjoint is None else adjoint, losses, results)

    def _in_stages(
        self, latents: Tensor, references: Sequence[ClipReference], loss: Loss, key: tuple[int, ...]
    ) -> Pulled:
        # Clip by clip: the memory is that of one, and no clip's last bits depend on its neighbours.
        decodes = [self._decode(clip) for clip in latents.split(1)]
        seen: list[list[FrameFaces]] = []
        videos: list[Tensor] = []
        for decode in decodes:
            foreseen: list[FrameFaces] = []
            parts: list[Tensor] = []
            for _, frames in decode.frames():
                foreseen += self._scorer.foresee(frames[0].transpose(0, 1))
                if self._scorer.looks_at_videos:
                    parts.append(frames)
            seen.append(foreseen)
            videos += [torch.cat(parts, dim=2)] if parts else []
        results, losses, faces, dense = self._score(seen, videos, references, loss)
        videos.clear()
        if self._stride > 1:
            generator = sampling.seeded_generator(*key)
            offsets = torch.randint(self._stride, (len(faces),), generator=generator).tolist()
            faces = [clip.every(self._stride, offset) for clip, offset in zip(faces, offsets, strict=True)]
        adjoint = torch.zeros_like(latents)
        for place, (decode, clip) in enumerate(zip(decodes, faces, strict=True)):
            video = None if dense is None or not bool((dense[place] != 0).any()) else dense[place]
            if self._margin is None:
                adjoint[place] = decode.pull_back(self._frame_gradient(clip, video), _wanted(clip, video))[0]
            else:
                adjoint[place] = self._through_windows(latents[place : place + 1], clip)[0]
        return _pulled(adjoint, losses, results)

    def _decode(self, latents: Tensor) -> Decode:
        if self._chunk is None and self._margin is None:
            return GraphDecode(self._vae, latents)
        return ChunkedDecode(self._vae, latents, self._chunk or latents.shape[2])

    def _score(
        self,
        seen: Sequence[Sequence[FrameFaces]],
        videos: Sequence[Tensor],
        references: Sequence[ClipReference],
        loss: Loss,
    ) -> tuple[list[ClipReward], Tensor, list[FaceGradients], Tensor | None]:
        """Rewards and losses of the clips, the faces they depend on, and d loss / d video [B, 3, T, H, W] if they
        depend on it."""
        leaves = [torch.cat([frame.embeddings for frame in clip]).requires_grad_(True) for clip in seen]
        video = torch.cat(list(videos)).requires_grad_(True) if videos else None
        with torch.enable_grad():
            parts = [leaf.split([len(frame) for frame in clip]) for leaf, clip in zip(leaves, seen, strict=True)]
            followed = [
                [replace(frame, embeddings=part) for frame, part in zip(clip, split, strict=True)]
                for clip, split in zip(seen, parts, strict=True)
            ]
            results = self._scorer.combine(followed, video, references)
            losses = loss(results)
            found = _gradients(losses, leaves if video is None else [*leaves, video])
        faces = [
            FaceGradients.of(clip, torch.zeros_like(leaf) if gradient is None else gradient, result.faces.faces)
            for clip, leaf, gradient, result in zip(seen, leaves, found[: len(seen)], results, strict=True)
        ]
        return results, losses, faces, found[-1] if video is not None else None

    def _frame_gradient(self, faces: FaceGradients, video: Tensor | None) -> FrameGradient:
        """d loss / d frames of one clip, through its faces and, if it depends on it, its video [3, T, H, W]."""

        def gradient(place: range, frames: Tensor) -> Tensor:
            here = faces.within(place)
            pixels = frames[0].transpose(0, 1)
            found = self._scorer.pull_back(pixels, here.frames - place.start, here.landmarks, here.gradients)
            found = found.transpose(0, 1)
            return (found if video is None else found + video[:, place.start : place.stop])[None]

        return gradient

    def _through_windows(self, latents: Tensor, faces: FaceGradients) -> Tensor:
        """The gradient at the latents [1, 16, T', h, w] of one clip, through the windows around its faces alone."""
        assert self._margin is not None
        adjoint = torch.zeros_like(latents)
        scale = vae_sequence.pixels_per_latent(self._vae)
        for window in face_windows.around(faces, self._margin, (latents.shape[3], latents.shape[4]), scale):
            part = latents[:, :, :, window.rows, window.columns]
            decode = ChunkedDecode(self._vae, part, self._chunk or latents.shape[2])
            inside = window.faces
            adjoint[:, :, :, window.rows, window.columns] += decode.pull_back(
                self._frame_gradient(inside, None), _wanted(inside, None)
            )
        return adjoint


def _wanted(faces: FaceGradients, video: Tensor | None) -> Callable[[range], bool]:
    return lambda place: video is not None or len(faces.within(place)) > 0


def _gradients(losses: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """d losses.sum() / d inputs; None where the losses do not depend on them."""
    if not losses.requires_grad:
        return [None] * len(inputs)
    return list(torch.autograd.grad(losses.sum(), inputs, allow_unused=True))


def _pulled(adjoint: Tensor, losses: Tensor, results: Sequence[ClipReward]) -> Pulled:
    detached = [
        replace(result, total=result.total.detach(), faces=replace(result.faces, reward=result.faces.reward.detach()))
        for result in results
    ]
    return Pulled(adjoint.detach(), losses.detach().cpu(), detached)
