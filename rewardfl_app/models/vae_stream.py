"""The Wan VAE's decoder over a clip in chunks of latent frames, and its transpose, in memory that does not grow with
the length of the clip.

A chunk is a function (latents_k, caches_k) -> (frames_k, caches_{k+1}), where the caches are the last two frames that
each causal convolution saw. The gradient goes backwards through the same chunks:

    d loss/d latents_k, d loss/d caches_k = J_k^T (d loss/d frames_k, d loss/d caches_{k+1})

so that only the graph of one chunk exists at a time. `vae_sequence.decode` is the same function in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.models import vae_sequence

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d

_SEEN = 2  # frames that a causal convolution (kernel 3) looks back
# Caches that are kept where they would add to the memory that the chunks save; those between are computed again. Six
# chunks (81 frames in chunks of 4 latent frames) then take three of six chunk decodes a second time.
_KEPT_BESIDE = 2

# The last two inputs [B, C, 2, h, w] of each causal convolution, in the order in which the decoder meets them.
Caches = tuple[Tensor, ...]
# d loss / d frames of one chunk, from the video frames it stands for and the frames [B, 3, n, H, W] (without a graph).
FrameGradient = Callable[[range, Tensor], Tensor]


class _Chunk:
    """What lies to the left of a chunk, by the caches that the chunk before left behind; notes those for the next."""

    def __init__(self, caches: Caches | None) -> None:
        self.is_start = caches is None
        self.left: list[Tensor] = []
        self._given = iter(caches or ())

    def convolve(self, conv: WanCausalConv3d, x: Tensor) -> Tensor:
        frames = x.shape[2]
        if self.is_start:
            seen = x
        else:
            seen = vae_sequence.fast_layout(torch.cat([next(self._given), x], dim=2))
        short = max(_SEEN - seen.shape[2], 0)
        # A copy: a slice would keep the whole input alive.
        self.left.append(F.pad(seen[:, :, -_SEEN:], (0, 0, 0, 0, short, 0)) if short else seen[:, :, -_SEEN:].clone())
        if not frames:
            return x
        return conv(x) if self.is_start else conv(seen[:, :, _SEEN:], seen[:, :, :_SEEN])


def decode_chunk(vae: AutoencoderKLWan, latents: Tensor, caches: Caches | None) -> tuple[Tensor, Caches]:
    """Frames [B, 3, n, H, W] (float32 or better, not clamped) of consecutive latents [B, 16, t, h, w], normalised.

    `caches`: what the chunk before left behind, None at the start of the clip, where n = 4 (t - 1) + 1; later n = 4 t.
    """
    raw = vae_sequence.denormalise(vae, latents).to(vae.dtype)
    twice = vae_sequence.slow_alone(vae, raw, 4 * raw.shape[2], 8 * raw.shape[3])
    if twice:
        raw = torch.cat([raw, raw])
        caches = None if caches is None else tuple(torch.cat([cache, cache]) for cache in caches)
    chunk = _Chunk(caches)
    frames = vae_sequence.decode_raw(vae, raw, chunk)
    batch = latents.shape[0]
    return _at_least_float32(frames[:batch]), tuple(cache[:batch] for cache in chunk.left)


class ChunkedDecode:
    """The decode of normalised latents [B, 16, T', h, w] in chunks of `size` latent frames.

    `frames` runs once, from the first chunk to the last; `pull_back` then goes back through the same chunks.
    """

    def __init__(self, vae: AutoencoderKLWan, latents: Tensor, size: int) -> None:
        self._vae = vae
        self._latents = latents.detach()
        self._size = size
        self._count = -(-latents.shape[2] // size)
        # On an accelerator they go to the host, where there is room for all of them.
        self._slots = _KEPT_BESIDE if latents.device.type == "cpu" else self._count
        self._kept: dict[int, Caches] = {}

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return 4 * (self._latents.shape[2] - 1) + 1

    @torch.no_grad()
    def frames(self) -> Iterator[tuple[range, Tensor]]:
        """Each chunk's place in the video and its frames [B, 3, n, H, W], without a graph."""
        caches: Caches | None = None
        keep = self._spread(0, self._count)
        for chunk in range(self._count):
            if chunk in keep and caches is not None:
                self._kept[chunk] = self._stored(caches)
            frames, caches = decode_chunk(self._vae, self._part(chunk), caches)
            yield self._place(chunk), frames

    def pull_back(self, gradient: FrameGradient, wanted: Callable[[range], bool]) -> Tensor:
        """d loss / d latents [B, 16, T', h, w], float32, from the gradient of the loss at the frames.

        `gradient` is asked chunk by chunk, last first, and only where `wanted`: elsewhere it is zero. Chunks after the
        last wanted one are not looked at.
        """
        adjoint = torch.zeros_like(self._latents)
        back: Sequence[Tensor] | None = None
        for chunk in reversed(range(self._count)):
            place = self._place(chunk)
            if back is None and not wanted(place):
                self._kept.pop(chunk, None)
                continue
            caches = self._caches_at(chunk)
            latents = self._part(chunk).requires_grad_(True)
            given = () if caches is None else tuple(cache.requires_grad_(True) for cache in caches)
            with torch.enable_grad():
                frames, left = decode_chunk(self._vae, latents, caches)
                outputs: list[Tensor] = [] if back is None else list(left)
                gradients: list[Tensor] = [] if back is None else list(back)
                del left
                if wanted(place):
                    gradients.append(gradient(place, frames.detach()).to(frames.dtype))
                    outputs.append(frames)
                del frames
                found = torch.autograd.grad(outputs, (latents, *given), gradients, materialize_grads=True)
            del outputs, gradients
            adjoint[:, :, self._span(chunk)] = found[0]
            back = found[1:]
        self._kept.clear()
        return adjoint

    @torch.no_grad()
    def _caches_at(self, chunk: int) -> Caches | None:
        """What the chunks before left behind: kept, or computed again from the nearest that was."""
        self._kept = {at: caches for at, caches in self._kept.items() if at <= chunk}
        start = max(self._kept, default=0)
        caches = self._restored(self._kept[start]) if start else None
        keep = self._spread(start, chunk)
        for at in range(start, chunk):
            if at in keep and at > start and caches is not None:
                self._kept[at] = self._stored(caches)
            caches = decode_chunk(self._vae, self._part(at), caches)[1]
        return caches

    def _spread(self, start: int, stop: int) -> range:
        """The chunks between two whose caches are worth keeping in the free slots, evenly spread."""
        free = self._slots - len(self._kept)
        gap = max(-(-(stop - start) // (free + 1)), 1)
        return range(start + gap, stop, gap) if free > 0 else range(0)

    def _stored(self, caches: Caches) -> Caches:
        return caches if self._latents.device.type == "cpu" else tuple(cache.cpu() for cache in caches)

    def _restored(self, caches: Caches) -> Caches:
        # Leaves of a graph of their own: what is kept must not be marked.
        return tuple(cache.to(self._latents.device).detach() for cache in caches)

    def _span(self, chunk: int) -> slice:
        return slice(chunk * self._size, (chunk + 1) * self._size)

    def _part(self, chunk: int) -> Tensor:
        return self._latents[:, :, self._span(chunk)].detach()

    def _place(self, chunk: int) -> range:
        first = chunk * self._size
        stop = min(first + self._size, self._latents.shape[2])
        return range(max(4 * first - 3, 0), 4 * stop - 3)


def _at_least_float32(frames: Tensor) -> Tensor:
    return frames.to(torch.promote_types(frames.dtype, torch.float32))
