"""The Wan VAE's decoder over a clip in chunks of latent frames, and its transpose, in memory that does not grow with
the length of the clip.

A chunk is a function (latents_k, caches_k) -> (frames_k, caches_{k+1}), where the caches are the last two frames that
each causal convolution saw. The gradient goes backwards through the same chunks:

    d loss/d latents_k, d loss/d caches_k = J_k^T (d loss/d frames_k, d loss/d caches_{k+1})

so that only the graph of one chunk exists at a time. `vae_sequence.decode` is the same function in one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.models import freed_memory, frozen_conv, vae_sequence

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d

_SEEN = 2  # frames that a causal convolution (kernel 3) looks back
# Chunks whose caches are kept; those of the others are computed again from the nearest before. With two, six chunks (81
# frames in chunks of 4 latent frames) take three chunk decodes a second time, and a longer clip needs no more memory.
_KEPT = 2

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
        cache = None if self.is_start else next(self._given)
        last = x if cache is None or x.shape[2] >= _SEEN else torch.cat([cache, x], dim=2)
        short = max(_SEEN - last.shape[2], 0)
        # A copy: a slice would keep the whole input alive.
        self.left.append(F.pad(last, (0, 0, 0, 0, short, 0)) if short else last[:, :, -_SEEN:].clone())
        if not x.shape[2]:
            return x
        return frozen_conv.causal(conv, x, cache)


def decode_chunk(vae: AutoencoderKLWan, latents: Tensor, caches: Caches | None) -> tuple[Tensor, Caches]:
    """Frames [B, 3, n, H, W] (float32 or better, not clamped) of consecutive latents [B, 16, t, h, w], normalised.

    `caches`: what the chunk before left behind, None at the start of the clip, where n = 4 (t - 1) + 1; later n = 4 t.
    """
    chunk = _Chunk(caches)
    video = vae_sequence.decode_raw(vae, vae_sequence.denormalise(vae, latents).to(vae.dtype), chunk)
    return vae_sequence.at_least_float32(video), tuple(chunk.left)


@torch.no_grad()
def decode_all(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Frames [B, 3, T, H, W] of normalised latents [B, 16, T', h, w], as `vae_sequence.decode`, without a graph.

    On an accelerator, where the memory for a whole clip would be several times that of a training step, clip by clip
    and one latent frame at a time.
    """
    if latents.device.type == "cpu":
        return vae_sequence.decode(vae, latents)
    return torch.cat([decode_streamed(vae, clip) for clip in latents.split(1)])


def decode_streamed(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """The same one latent frame at a time, wherever it is."""
    caches: Caches | None = None
    parts = []
    for part in latents.split(1, dim=2):
        frames, caches = decode_chunk(vae, part, caches)
        parts.append(frames)
    return torch.cat(parts, dim=2)


class Decode(Protocol):
    """The decode of a clip's latents and its transpose."""

    def frames(self) -> Iterator[tuple[range, Tensor]]:
        """The video in consecutive parts: the place of each in the video and its frames [B, 3, n, H, W], detached."""

    def pull_back(self, gradient: FrameGradient, wanted: Callable[[range], bool]) -> Tensor:
        """d loss / d latents [B, 16, T', h, w] from the gradient at the frames, asked for where it is wanted and zero
        elsewhere."""


class GraphDecode:
    """The decode of normalised latents [B, 16, T', h, w] by one graph, which `pull_back` uses up."""

    def __init__(self, vae: AutoencoderKLWan, latents: Tensor) -> None:
        self._vae = vae
        self._latents = latents.detach().clone().requires_grad_(True)
        self._video: Tensor | None = None

    def frames(self) -> Iterator[tuple[range, Tensor]]:
        """The whole video at once."""
        with torch.enable_grad():
            self._video = vae_sequence.decode(self._vae, self._latents)
        yield range(self._video.shape[2]), self._video.detach()

    def pull_back(self, gradient: FrameGradient, wanted: Callable[[range], bool]) -> Tensor:
        """See `Decode`. `frames` goes first."""
        video, self._video = self._video, None
        assert video is not None
        place = range(video.shape[2])
        if not wanted(place):
            return torch.zeros_like(self._latents)
        (adjoint,) = torch.autograd.grad(video, self._latents, gradient(place, video.detach()))
        return adjoint


class ChunkedDecode:
    """The decode of normalised latents [B, 16, T', h, w] in chunks of `size` latent frames.

    `frames` goes from the first chunk to the last, `pull_back` from the last to the first, faster after `frames`.
    """

    def __init__(self, vae: AutoencoderKLWan, latents: Tensor, size: int) -> None:
        self._vae = vae
        self._latents = latents.detach()
        self._size = size
        self._count = -(-latents.shape[2] // size)
        self._kept: dict[int, Caches] = {}

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return 4 * (self._latents.shape[2] - 1) + 1

    @torch.no_grad()
    def frames(self) -> Iterator[tuple[range, Tensor]]:
        """The chunks, see `Decode`."""
        caches: Caches | None = None
        keep = self._spread(0, self._count)
        for chunk in range(self._count):
            if chunk in keep and caches is not None:
                self._kept[chunk] = caches
            frames, caches = decode_chunk(self._vae, self._part(chunk), caches)
            self._give_back()
            yield self._place(chunk), frames
            del frames

    def pull_back(self, gradient: FrameGradient, wanted: Callable[[range], bool]) -> Tensor:
        """See `Decode`; `gradient` is asked chunk by chunk, last first. Chunks after the last wanted one are not
        decoded."""
        adjoint = torch.zeros_like(self._latents)
        back: Sequence[Tensor] | None = None
        for chunk in reversed(range(self._count)):
            place = self._place(chunk)
            if back is None and not wanted(place):
                self._kept.pop(chunk, None)
                continue
            caches = self._caches_at(chunk)
            latents = self._part(chunk).requires_grad_(True)
            # Leaves of a graph of their own: what is kept must not be marked.
            given = None if caches is None else tuple(cache.detach().requires_grad_(True) for cache in caches)
            with torch.enable_grad():
                frames, left = decode_chunk(self._vae, latents, given)
                outputs: list[Tensor] = [] if back is None else list(left)
                gradients: list[Tensor] = [] if back is None else list(back)
                del left
                if wanted(place):
                    gradients.append(gradient(place, frames.detach()).to(frames.dtype))
                    outputs.append(frames)
                del frames
                found = torch.autograd.grad(outputs, (latents, *(given or ())), gradients, materialize_grads=True)
            del outputs, gradients
            adjoint[:, :, self._span(chunk)] = found[0]
            # Copies: slices would keep the gradients of the convolutions' whole inputs alive during the next chunk.
            back = [part.clone() for part in found[1:]]
            del found
            self._give_back()
        self._kept.clear()
        return adjoint

    @torch.no_grad()
    def _caches_at(self, chunk: int) -> Caches | None:
        """What the chunks before left behind: kept, or computed again from the nearest that was."""
        self._kept = {at: caches for at, caches in self._kept.items() if at <= chunk}
        start = max(self._kept, default=0)
        caches = self._kept[start] if start else None
        keep = self._spread(start, chunk)
        for at in range(start, chunk):
            if at in keep and at > start and caches is not None:
                self._kept[at] = caches
            caches = decode_chunk(self._vae, self._part(at), caches)[1]
            self._give_back()
        return caches

    def _give_back(self) -> None:
        if self._latents.device.type == "cpu":  # an accelerator's allocator uses what is free again
            freed_memory.give_back()

    def _spread(self, start: int, stop: int) -> range:
        """The chunks between two whose caches are worth keeping in the free slots, evenly spread."""
        free = _KEPT - len(self._kept)
        gap = max(-(-(stop - start) // (free + 1)), 1)
        return range(start + gap, stop, gap) if free > 0 else range(0)

    def _span(self, chunk: int) -> slice:
        # What is left over comes first: a clip of 4 n + 1 frames begins with a latent frame that stands for one.
        stop = self._latents.shape[2] - (self._count - 1 - chunk) * self._size
        return slice(max(stop - self._size, 0), stop)

    def _part(self, chunk: int) -> Tensor:
        return self._latents[:, :, self._span(chunk)].detach()

    def _place(self, chunk: int) -> range:
        span = self._span(chunk)
        return range(max(4 * span.start - 3, 0), 4 * span.stop - 3)
