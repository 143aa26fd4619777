"""Seconds, memory and FLOP/s of each phase of an update at Wan2.2's released sizes, with random weights.

Forward of one transformer: 2 P n + 4 L n^2 w floating-point operations (P parameters, n tokens, L layers, w width); the
backward pass through a frozen transformer to its inputs costs the products of the forward pass again and the attention
2.5 times. What checkpointing computes twice is counted as work in FLOP/s, not as a need of the model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.bench import random_wan, resident
from rewardfl_app.bench.report import Cell, Mark, Progress, Report
from rewardfl_app.config import family, schedule
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.models import adaptation, compiled_blocks, sampling, wan
from rewardfl_app.models.sampling import Grid
from rewardfl_app.models.vae_stream import ChunkedDecode
from rewardfl_app.planning.network_sizes import TEXT_TOKENS
from rewardfl_app.training import losses

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

    from rewardfl_app.config.schema import Config

CPU_LAYERS = 2
_MOST_GB, _UTILISATION = 80.0, 0.4  # of the whole model on a GPU
_DECODED_ON_CPU = 2  # chunks
# Dense bfloat16 products a second that the makers state, by a part of the name.
_STATED = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
_COLUMNS = ("phase", "seconds", "peak GB", "TFLOP", "TFLOP/s", "share of a product", "whole update: seconds")


@dataclass
class Phase:
    """One part of an update as it was measured here, and how often and how much of it a whole update has.

    `flop`: done in `seconds`; `whole_flop`: in all of a whole update, all layers and chunks; `needed_flop`: of these
    what is not computed a second time.
    """

    name: str
    seconds: float
    peak: float
    flop: float
    whole_flop: float
    needed_flop: float

    @property
    def whole_seconds(self) -> float:
        """Of a whole update, at the rate that was measured."""
        return self.seconds * self.whole_flop / self.flop


def measure(config: Config, progress: Progress, layers: int | None = None) -> Report:
    """One video through the sampling steps and back; `layers`: of the transformer (None: all, on a CPU CPU_LAYERS).

    Sizes, steps, LoRA and checkpointing are the configuration's. The face networks are left out, whose share is small.
    Raises ConfigError for a family without released sizes.
    """
    if config.model.model_name not in random_wan.RELEASED:
        known = ", ".join(random_wan.RELEASED)
        raise ConfigError([Problem("model.model_name", f"Random weights of the released size: set one of {known}.")])
    bench = _Bench(config, layers)
    progress("making random weights", 0, 5)
    bench.make()
    rate = bench.product_rate()
    phases = []
    measures = (bench.rollout, bench.decode, bench.back, bench.optimizer)
    for done, phase in enumerate(measures):
        progress(phase.__name__, done + 1, 5)
        phases.append(phase())
    return bench.report(phases, rate)


class _Bench:
    def __init__(self, config: Config, layers: int | None) -> None:
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.on_gpu = self.device.type == "cuda"
        self.dtype = wan.DTYPES[config.model.dtype]
        self.network = random_wan.RELEASED[config.model.model_name]
        self.all_layers = self.network.layers
        self.layers = min(layers or (self.all_layers if self.on_gpu else CPU_LAYERS), self.all_layers)
        data = config.data
        side = int(data.max_pixels**0.5) // 32 * 32
        self.height, self.width = data.height or side, data.width or side
        self.shape = family.of(config.model).latent_shape(data.num_frames, self.height, self.width)
        _, frames, rows, columns = self.shape
        self.tokens = frames * (rows // family.PATCH) * (columns // family.PATCH)
        self.grid = Grid.of(config)
        self.gradient_steps = len(schedule.gradient_steps(config))
        self.chunk = config.sampling.decode_chunk or frames

    def make(self) -> None:
        """The transformer with its LoRA, the VAE, and one video's inputs."""
        self.vae = random_wan.vae(self.network, self.dtype, self.device)
        self.expert = random_wan.transformer(self.network, self.layers, self.dtype, self.device)
        wan.attention(self.expert, self.config.model)
        wan.checkpointing(self.expert, self.config.model, self.device)
        if self.config.model.compile_blocks:
            compiled_blocks.compile_in(self.expert, self.device)
        self.trained = adaptation.LoraAdaptation(self.expert, self.config, seed=0)
        self.lora_parameters = sum(parameter.numel() for parameter in self.trained.parameters())
        train = self.config.train
        parameters = self.trained.parameters()
        self.adamw = torch.optim.AdamW(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)
        channels, *area = self.shape
        draw = torch.Generator().manual_seed(0)
        self.x = torch.randn(1, channels, *area, generator=draw).to(self.device)
        condition = torch.randn(1, family.TEMPORAL_FACTOR + channels, *area, generator=draw)
        condition[:, : family.TEMPORAL_FACTOR] = 0
        condition[:, : family.TEMPORAL_FACTOR, 0] = 1
        self.condition = condition.to(self.device)
        width = int(self.network.transformer["text_dim"])
        self.text = torch.randn(1, TEXT_TOKENS, width, generator=draw).to(self.device)

    def product_rate(self) -> float:
        """Floating-point operations a second of large matrix products: what could be reached here."""
        size = 8192 if self.on_gpu else 2048
        one, two = torch.randn(2, size, size, device=self.device).to(self.dtype).unbind()
        times = [self._timed(lambda: one @ two) for _ in range(6)]
        return 2 * size**3 / median(times[1:])

    def rollout(self) -> Phase:
        """One step without a graph; a whole update has all of them."""
        with torch.no_grad():
            seconds, peak = self._measured(lambda: self._velocity(self.x))
        whole = self._forward_flop(self.all_layers) * self.grid.num_steps
        return Phase("rollout", seconds, peak, self._forward_flop(self.layers), whole, whole)

    def decode(self) -> Phase:
        """Decode in chunks and its transpose; on a CPU of a part of the clip."""
        frames = self.shape[1]
        taken = frames if self.on_gpu else min(frames, _DECODED_ON_CPU * self.chunk)
        latents = self.x[:, :, :taken]

        def there_and_back() -> None:
            decode = ChunkedDecode(self.vae, latents, self.chunk)
            for _, part in decode.frames():
                del part
            decode.pull_back(lambda place, video: torch.full_like(video, 1e-6), lambda place: True)

        seconds, peak = self._measured(there_and_back)
        flop = float(taken)  # counted in latent frames: see `report`
        return Phase("decode and back", seconds, peak, flop, float(frames), float(frames))

    def back(self) -> Phase:
        """One gradient step: velocity with a graph, the untrained network's, and the backward pass."""
        adjoint = torch.randn_like(self.x) * 1e-4

        def step() -> None:
            x = self.x.clone().requires_grad_(True)
            with torch.enable_grad():
                v = self._velocity(x)
                surrogate = (v * adjoint).sum()
                if self.config.reward.kl_weight > 0:
                    with torch.no_grad(), self.trained.base():
                        reference = self._velocity(self.x)
                    surrogate = surrogate + 1e-4 * losses.divergence(v, reference, 0.5).sum()
                surrogate.backward()

        seconds, peak = self._measured(step)
        forwards = 1 + (self.config.reward.kl_weight > 0)
        twice = int(self.config.model.use_gradient_checkpointing)

        def flop(layers: int, again: int) -> float:
            return (forwards + again) * self._forward_flop(layers) + self._backward_flop(layers)

        needed = flop(self.all_layers, 0) * self.gradient_steps
        whole = flop(self.all_layers, twice) * self.gradient_steps
        return Phase("gradient steps", seconds, peak, flop(self.layers, twice), whole, needed)

    def optimizer(self) -> Phase:
        """AdamW on the LoRA."""

        def step() -> None:
            torch.nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
            self.adamw.step()

        seconds, peak = self._measured(step)
        return Phase("optimizer", seconds, peak, float(self.layers), float(self.all_layers), float(self.all_layers))

    def report(self, phases: list[Phase], rate: float) -> Report:
        """The table, and what a whole update would take at these rates."""
        counted = {"rollout", "gradient steps"}
        rows: list[list[Cell]] = []
        for phase in phases:
            known = phase.name in counted
            speed = phase.flop / phase.seconds if known else None
            rows.append([
                phase.name, phase.seconds, phase.peak, phase.flop / 1e12 if known else None,
                speed / 1e12 if speed else None, speed / rate if speed else None, phase.whole_seconds,
            ])  # fmt: skip
        whole = sum(phase.whole_seconds for phase in phases)
        needed = sum(phase.needed_flop for phase in phases if phase.name in counted)
        rows.append(["update", None, max(phase.peak for phase in phases), needed / 1e12, needed / whole / 1e12,
                     needed / whole / rate, whole])  # fmt: skip
        report = Report("wan22", _COLUMNS, rows)
        complete = self.on_gpu and self.layers == self.all_layers
        stated = self._stated()
        if complete:
            report.marks.append(Mark("peak of the GPU's memory, GB", max(phase.peak for phase in phases), _MOST_GB))
            reached = needed / whole / (stated or rate)
            report.marks.append(Mark("FLOP utilisation of the update", reached, _UTILISATION, at_most=False))
        report.notes = self._notes(complete, rate, stated)
        report.parameters = {
            "model": self.config.model.model_name, "layers": self.layers, "all_layers": self.all_layers,
            "height": self.height, "width": self.width, "frames": self.config.data.num_frames, "tokens": self.tokens,
            "steps": self.grid.num_steps, "gradient_steps": self.gradient_steps,
            "lora_rank": self.config.lora.lora_rank, "lora_parameters": self.lora_parameters,
            "dtype": self.config.model.dtype, "product_flops": rate, "stated_flops": stated,
            "compile_blocks": self.config.model.compile_blocks,
        }  # fmt: skip
        return report

    def _notes(self, complete: bool, rate: float, stated: float | None) -> list[str]:
        notes = [
            f"{family.of(self.config.model).title} at {self.height} x {self.width}, {self.config.data.num_frames} "
            f"frames ({self.tokens} tokens), {self.layers} of {self.all_layers} layers, random weights in "
            f"{self.config.model.dtype}; {self.gradient_steps} of {self.grid.num_steps} steps carry the gradient. "
            f"Large products reach {rate / 1e12:.3g} TFLOP/s here"
            + (f" ({stated / 1e12:.3g} stated by the maker)." if stated else "."),
            "Last column: all steps, layers and frames of one video's update. The face networks, the text encoder and "
            "the VAE's encoder are not in it.",
        ]
        if not complete:
            notes.append(
                f"EXTRAPOLATED: the last column scales what was measured on {self.layers} layers"
                + (f" and {_DECODED_ON_CPU} chunks of the decode" if not self.on_gpu else "")
                + " by the floating-point operations (the decode by its frames). The peaks are of these layers alone."
            )
        return notes

    def _stated(self) -> float | None:
        if not self.on_gpu or self.dtype != torch.bfloat16:
            return None
        name = torch.cuda.get_device_name(self.device)
        return next((rate for part, rate in _STATED.items() if part in name), None)

    def _velocity(self, x: Tensor) -> Tensor:
        return sampling.predict_velocity(self.expert, x, 0.5, self.text, self.condition)

    def _forward_flop(self, layers: int) -> float:
        return self._product_flop(layers) + self._attention_flop(layers)

    def _backward_flop(self, layers: int) -> float:
        return self._product_flop(layers) + 2.5 * self._attention_flop(layers)

    def _product_flop(self, layers: int) -> float:
        return 2.0 * _block_parameters(self.expert) * layers * self.tokens

    def _attention_flop(self, layers: int) -> float:
        return 4.0 * layers * self.tokens * (self.tokens + TEXT_TOKENS) * self.network.width

    def _measured(self, work: Callable[[], object]) -> tuple[float, float]:
        """Seconds (the second of two where something is compiled) and peak in GB (10^9 bytes), all that is resident
        included."""
        if self.on_gpu or self.config.model.compile_blocks:
            self._timed(work)
        with self._peak() as peak:
            seconds = self._timed(work)
        return seconds, peak[0]

    def _timed(self, work: Callable[[], object]) -> float:
        self._wait()
        started = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - started

    @contextmanager
    def _peak(self) -> Iterator[list[float]]:
        found: list[float] = []
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            resident.start_peak()
        yield found
        found.append(
            torch.cuda.max_memory_allocated(self.device) / 1e9 if self.on_gpu else resident.peak_mb() / 953.674
        )

    def _wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)


def _block_parameters(expert: WanTransformer3DModel) -> int:
    """Of one block, without its LoRA."""
    return sum(p.numel() for name, p in expert.blocks[0].named_parameters() if "lora_" not in name)
