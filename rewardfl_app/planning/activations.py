"""Bytes that computing takes beside the weights: of one transformer's steps and of the VAE's decoder.

Everything that is large grows with the number of tokens or pixels alone, so it is told in units of one tensor: tokens x
width of the transformer in bytes of one (the transformer), height x width x decoder channels in the number format (the
decoder). The numbers of units were counted by following every allocation of the real code at the released sizes, and
are held to it by tests/planning/test_activations.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rewardfl_app.planning.network_sizes import Network

BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Transformer:
    """Bytes of one transformer on one video.

    `forward`: of a step without a graph; `reference`: the same without the LoRA. `block_input`: what a block that is
    computed again keeps. `block`: what a block's own graph keeps. `around`: what is kept outside the blocks.
    `backward`: on top of all that is kept while a block is pulled back; `rebuilt_backward` of one that was computed
    again.
    """

    forward: float
    reference: float
    block_input: float
    block: float
    around: float
    backward: float
    rebuilt_backward: float
    layers: int

    def held(self, checkpointing: bool) -> float:
        """What the graph of a step keeps."""
        return self.around + self.layers * (self.block_input if checkpointing else self.block)

    def gradient_step(self, checkpointing: bool, with_reference: bool) -> float:
        """The most that a step with a graph takes, its reference's forward pass and its backward pass included."""
        held = self.held(checkpointing)
        back = self.block + self.rebuilt_backward if checkpointing else self.backward
        # The forward pass of the last block comes on top of what the blocks before it keep.
        return held + max(back, self.forward, self.reference if with_reference else 0.0)


def transformer(
    network: Network,
    tokens: int,
    dtype: str,
    targets: Collection[str],
    rank: int,
    *,
    times_per_token: bool,
    joined: bool,
    zero_stage: int = 0,
) -> Transformer:
    """Of a LoRA on the layers `targets` (Wan's own names) in float32, on frozen weights in `dtype`.

    `times_per_token`: each token has its own noise level (Wan2.2-TI2V-5B), and with it its own modulations.
    `joined`: layer and LoRA are one operation (models.lora_linear). `zero_stage` 3: DeepSpeed puts its own product in
    the place of PyTorch's, which keeps its input whether or not the weight trains.
    """
    unit = float(tokens * network.width)
    ratio = network.feed_forward / network.width
    size = BYTES[dtype]
    has = {name: int(name in targets) for name in ("q", "k", "v", "o", "ffn.0", "ffn.2")}
    ranks = 2 * has["q"] + has["k"] + has["v"] + 2 * has["o"] + has["ffn.0"] + has["ffn.2"]
    loose = 4 * rank * ranks / network.width  # what A gives, float32
    first, second = has["ffn.0"], has["ffn.2"]
    if size == 2:
        block, around = 36.1 + 2 * ratio, 4.4
        plain, backward = max(22.4, 8.3 + 4 * ratio), max(10.0, 4 * ratio)
        if joined:
            block += 2 * max(has["q"], has["k"], has["v"]) + 2 * has["q"] + 2 * first + 2 * second * ratio
            forward = max(plain, 8.3 + 6 * max(first, second) * ratio)
            rebuilt = max(16.0, first * (6.1 + 3.25 * ratio), second * (5.8 + 5.4 * ratio))
        else:  # each LoRA has its own copy of its input, float32
            block += 8 * has["q"] + 4 * has["k"] + 4 * has["v"] + 8 * has["o"] + 4 * first + 4 * second * ratio
            forward = max(plain, 12.3 + 10 * ratio) if first or second else plain
            rebuilt = max(21.5 if first else 16.0, 5.6 + 4 * ratio)
        own_times = (33.5, 39.4, 15.1)
        kept, anyway = 6 + 2 * ratio, 4.0
    else:  # LoRA and layer share the tensor that they are given
        inputs = 4 * max(has["q"], has["k"], has["v"]) + 4 * has["q"] + 4 * first + 4 * second * ratio
        block, around = 48.2 + 4 * ratio + inputs, 4.5
        plain, backward = 16.4 + 8 * ratio, 8 * ratio
        if joined:
            forward, rebuilt = plain, 4.5 + 2.4 * ratio if second else 3.8 + 5.6 * ratio
        else:
            forward, rebuilt = plain + 4 * first * ratio, max(17.6, 8 * ratio - 4)
        own_times = (34.5, 53.3, 29.7)
        kept = 12 + 4 * ratio - inputs
        anyway = min(kept, 12.0)  # there too while a block is computed again and pulled back
    if times_per_token:
        block, around = block + own_times[0], around + own_times[2]
        forward, plain = forward + own_times[1], plain + own_times[1]
    if zero_stage == 3:
        block, rebuilt, around = block + kept, rebuilt - anyway, around + size
    return Transformer(
        forward=forward * unit,
        reference=plain * unit,
        block_input=size * unit,
        block=(block + loose) * unit,
        around=around * unit,
        backward=backward * unit,
        rebuilt_backward=rebuilt * unit,
        layers=network.layers,
    )


@dataclass(frozen=True)
class Line:
    """Units at n latent frames: at_zero + each x n."""

    at_zero: float
    each: float

    def __call__(self, latent_frames: int) -> float:
        return max(self.at_zero + self.each * latent_frames, 0.0)


@dataclass(frozen=True)
class _Units:
    """`graph`: of a chunk with its graph, and the two caches that are kept meanwhile. `whole_graph`, `whole`: of the
    clip in one piece, with its graph and without. `streamed`: of the clip frame by frame without a graph."""

    graph: Line
    whole_graph: Line
    whole: Line
    streamed: float


# By the shape of the decoder (blocks of a level, or the residual kind of Wan2.2-TI2V-5B) and the bytes of a number.
_DECODERS = {
    (1, 4): _Units(Line(93.0, 41.0), Line(-34.5, 48.3), Line(-17.9, 22.0), 60.0),
    (1, 2): _Units(Line(98.6, 70.9), Line(-6.2, 62.3), Line(-5.5, 25.6), 71.7),
    (2, 4): _Units(Line(130.6, 44.0), Line(-43.6, 58.1), Line(-17.9, 22.0), 69.0),
    (2, 2): _Units(Line(139.8, 56.1), Line(-27.9, 52.5), Line(-19.5, 26.0), 71.3),
    (0, 4): _Units(Line(38.6, 11.7), Line(-11.5, 15.2), Line(-4.9, 6.9), 18.9),
    (0, 2): _Units(Line(43.6, 17.2), Line(-8.0, 14.6), Line(-6.4, 8.5), 19.7),
}


@dataclass(frozen=True)
class Decoder:
    """Bytes of the decoder on one clip of `latent_frames` at `pixels` = height x width."""

    units: _Units
    unit: float
    latent_frames: int

    def chunked(self, chunk: int) -> float:
        """The most that the decode in chunks and its transpose take."""
        return self.unit * self.units.graph(min(chunk, self.latent_frames))

    def whole(self) -> float:
        """The most that the decode by one graph and its transpose take."""
        return self.unit * self.units.whole_graph(self.latent_frames)

    def rendered(self, on_gpu: bool) -> float:
        """Of a decode without a graph: frame by frame on a GPU, in one piece elsewhere."""
        return self.unit * (self.units.streamed if on_gpu else self.units.whole(self.latent_frames))


def decoder(network: Network, dtype: str, latent_frames: int, pixels: int) -> Decoder:
    """Of the network's VAE, in the number format of the frozen weights."""
    size = BYTES[dtype]
    shape = 0 if network.vae.get("is_residual") else int(network.vae.get("num_res_blocks", 2))
    return Decoder(_DECODERS[shape, size], float(pixels * network.decoder_width * size), latent_frames)
