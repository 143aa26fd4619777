"""How much memory a run takes, phase by phase, from its settings alone.

GB are 10^9 bytes. A phase is the sum of its parts; what is freed before another part of it is taken shows as that
phase's largest. One face in every frame is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rewardfl_app.config import family, schedule
from rewardfl_app.config.schema import Config
from rewardfl_app.planning import activations
from rewardfl_app.planning.activations import BYTES
from rewardfl_app.planning.network_sizes import NETWORKS
from rewardfl_app.planning.phase import Part, Phase
from rewardfl_app.planning.sampling_memory import SamplingMemory

# Of a process with everything imported, as measured; on a GPU its context and the libraries' workspaces too.
_PROCESS_HOST, _PROCESS_HOST_BESIDE_GPU, _PROCESS_DEVICE = 0.66e9, 3.0e9, 1.0e9
_SCATTERED_DECODE = 1.17  # on a CPU, of few large blocks: see sampling_memory
_CLIP_CACHE = 4 * 2**30  # of encoded clips, in a process: rendering.clips
_LARGEST_BUCKET = 4 * 500_000_000  # of a reduction: training.engine
_LIVE_WEIGHTS = 1_000_000_000  # parameters that ZeRO 3 holds together at a time, DeepSpeed's default


@dataclass(frozen=True)
class FaceNetworks:
    """Bytes of the weights of detector, recogniser and judge, of looking at one frame, of the graph of one face."""

    weights: float
    frame: float
    face: float


# antelopev2 (SCRFD-10GF at 640 x 640, ResNet-100) with a ResNet-50 as judge: by the sizes of their layers.
_FACES = {"pocket": FaceNetworks(8e6, 2.0e6, 1.8e6), "": FaceNetworks(0.46e9, 0.05e9, 0.036e9)}
_FRAMES_AT_ONCE = 16  # of 640 x 640: rewards.detector


@dataclass(frozen=True)
class MemoryPlan:
    """`per_machine`: processes on one machine. `on_gpu` False: everything is in the memory of the host."""

    phases: tuple[Phase, ...]
    on_gpu: bool
    per_machine: int
    videos: int
    size: tuple[int, int, int]

    @property
    def device_peak(self) -> Phase:
        """The phase that takes most on a device."""
        return max(self.phases, key=lambda phase: phase.device_gb)

    @property
    def host_peak(self) -> Phase:
        """The phase that takes most on a machine."""
        return max(self.phases, key=lambda phase: phase.host_gb)


def plan(config: Config, *, on_gpu: bool, per_machine: int | None = None) -> MemoryPlan:
    """The plan of a run. `per_machine`: its processes on one machine (None: all)."""
    return _Planner(config, on_gpu, per_machine or config.deepspeed.num_processes).plan()


class _Planner:
    def __init__(self, config: Config, on_gpu: bool, per_machine: int) -> None:
        self.config, self.on_gpu, self.per_machine = config, on_gpu, per_machine
        self.kind = family.of(config.model)
        self.network = NETWORKS[config.model.model_name]
        data = config.data
        side = int(data.max_pixels**0.5)
        self.height, self.width = (data.height, data.width) if data.height and data.width else (side, side)
        _, self.latent_frames, *_ = self.kind.latent_shape(data.num_frames, self.height, self.width)
        self.tokens = self.kind.num_tokens(data.num_frames, self.height, self.width)
        self.shares = config.deepspeed.context_parallel
        self.number = BYTES[config.model.dtype]
        self.world = config.deepspeed.num_processes
        self.trained = schedule.trained_experts(config)
        self.whole = schedule.trains_all_weights(config)
        lora = config.lora
        # A network that trains whole keeps the inputs of all its products, as a LoRA on all of them does.
        targets = ("q", "k", "v", "o", "ffn.0", "ffn.2") if self.whole else lora.lora_target_modules
        steps = activations.transformer(
            self.network,
            self.tokens // self.shares,
            config.model.dtype,
            targets,
            0 if self.whole else lora.lora_rank,
            times_per_token=self.kind.holds_first_frame,
            joined=self._is_joined,
            zero_stage=config.deepspeed.zero_stage,
        )
        self.decoder = activations.decoder(
            self.network, config.model.dtype, self.latent_frames, self.height * self.width
        )
        self.sampling = SamplingMemory(config, steps, on_gpu)
        self.decode_factor = 1.0 if on_gpu else _SCATTERED_DECODE
        self.faces = _FACES["pocket" if config.model.model_name == "pocket" else ""]
        numbers = self.network.lora_parameters(lora.lora_target_modules, lora.lora_rank)
        self.numbers = float(len(self.trained) * (self.network.parameters if self.whole else numbers))

    def plan(self) -> MemoryPlan:
        phases = list(self._phases())
        if not self.on_gpu:
            for phase in phases:
                phase.host = [Part(part.what, part.size * self.per_machine) for part in phase.device] + phase.host
                phase.device = []
        size = (self.config.data.num_frames, self.height, self.width)
        return MemoryPlan(
            tuple(phases), self.on_gpu, self.per_machine, self.config.train.per_device_train_batch_size, size
        )

    def _phases(self) -> Iterator[Phase]:
        train, evaluation = self.config.train, self.config.evaluation
        yield Phase("encoding the clips", [*self._encoding()], [*self._process()])
        if self._prefix_is_kept:
            steps = Part("a step of the high-noise expert", self.sampling.reference)
            expert = Part("the high-noise expert", self._expert_bytes)
            yield Phase("the leading steps", [*self._device(), expert, steps], [*self._process()])
        resident, beside = [*self._resident()], [*self._process(), *self._offloaded()]
        yield Phase("loading", resident, beside)
        batch, sampling = train.per_device_train_batch_size, self.sampling
        here = [*resident, Part("gradients", 4 * self.numbers)]
        waiting = [Part(part.what, self.per_machine * part.size) for part in sampling.on_host()]
        yield Phase("sampling", [*here, *sampling.sampled()], [*beside, *(waiting if sampling.has_graphs else [])])
        scored = [*beside, *(waiting if sampling.num_kept else [])]
        yield Phase("decoding and scoring", [*here, *sampling.kept(), *self._decoding(batch)], scored)
        yield Phase("backward through the steps", [*here, *sampling.pulled_back()], [*beside, *waiting])
        yield Phase("updating the weights", [*here, *self._updating()], beside)
        yield Phase("evaluating", [*resident, *self._rendering(evaluation.batch_size)], beside)
        copied = Part("weights and moments to write", 4 * self.numbers)
        yield Phase("saving", resident, [*beside, copied])

    # ---- what is there -------------------------------------------------------------------------------------------

    @property
    def _is_joined(self) -> bool:
        """Whether a LoRA is one operation with the layer below it: see models.lora_linear."""
        model, divided = self.config.model, self.config.deepspeed.zero_stage == 3
        beside_another = not model.fuse_frozen_lora and bool(model.high_noise_lora or model.low_noise_lora)
        return not (self.whole or divided or beside_another or self.config.lora.lora_dropout)

    @property
    def _expert_bytes(self) -> float:
        return float(self.network.parameters * self.number)

    @property
    def _prefix_is_kept(self) -> bool:
        return self.config.sampling.prefix_seeds > 0 and schedule.prefix_length(self.config) > 0

    @property
    def _leaves_encoders(self) -> bool:
        """Whether what encodes is gone before a network that trains is read: see training.loading."""
        return self.config.data.cache_gb > 0 and (self.on_gpu or self.config.sampling.prefix_seeds > 0)

    def _process(self) -> Iterator[Part]:
        if self.on_gpu:
            yield Part("processes", self.per_machine * _PROCESS_HOST_BESIDE_GPU)
        cached = min(self._clip_bytes * 64, _CLIP_CACHE)
        yield Part("encoded clips", self.per_machine * cached)

    def _device(self) -> Iterator[Part]:
        yield Part("process", _PROCESS_DEVICE if self.on_gpu else _PROCESS_HOST)
        yield Part("face networks", self.faces.weights)

    @property
    def _clip_bytes(self) -> float:
        """Of text, mask and condition, float32."""
        text = 512 * int(self.network.transformer["text_dim"])
        latents = (family.TEMPORAL_FACTOR + self.kind.channels) * self.tokens * family.PATCH**2
        return 4.0 * (text + latents)

    def _encoding(self) -> Iterator[Part]:
        yield from self._device()
        words = Part("text encoder", float(self.network.text_encoder * self.number))
        pictures = Part("VAE", float((self.network.vae_encoder + self.network.vae_decoder) * self.number))
        # The encoder takes about what the decoder does: on a GPU frame by frame.
        encoded = Part("encoding a clip", self.decode_factor * self.decoder.rendered(self.on_gpu))
        if self._leaves_encoders:  # one after the other
            yield from [words] if words.size > pictures.size + encoded.size else [pictures, encoded]
        else:
            yield from (words, pictures, encoded)

    def _resident(self) -> Iterator[Part]:
        """What stays on a device from loading on."""
        yield from self._device()
        yield Part("VAE's decoder", float(self.network.vae_decoder * self.number))
        if not self._leaves_encoders:
            yield Part("text encoder", float(self.network.text_encoder * self.number))
            yield Part("VAE's encoder", float(self.network.vae_encoder * self.number))
        settings = self.config.deepspeed
        used = set(schedule.step_experts(self.config)[: self.config.sampling.final_timestep + 1])
        frozen = used - set(self.trained) if not self._prefix_is_kept else set()
        if frozen:
            yield Part("expert that does not train", len(frozen) * self._expert_bytes)
        base = len(self.trained) * self._expert_bytes
        copies = base if self.whole and self.config.reward.kl_weight > 0 and not self._reference_leaves else 0.0
        if settings.zero_stage == 3:
            share = 1 if settings.offload_parameters and self.on_gpu else self.world
            divided = 0.0 if settings.offload_parameters and self.on_gpu else (0 if self.whole else base) + copies
            gathered = min(base, _LIVE_WEIGHTS * self.number)
            yield Part("networks that train, divided", divided / share)
            yield Part("networks that train, gathered", gathered)
        else:
            if not self.whole:
                yield Part("networks that train", base)
            elif copies:
                yield Part("untrained networks", copies)
        yield from self._optimizer()

    @property
    def _reference_leaves(self) -> bool:
        return self.config.model.offload_reference and self.on_gpu

    def _optimizer(self) -> Iterator[Part]:
        """Trained weights in float32 with their two moments, on the device."""
        settings, numbers = self.config.deepspeed, 4 * self.numbers
        if settings.zero_stage == 0:
            yield Part("trained weights", numbers)
            yield Part("AdamW's moments", 2 * numbers)
            return
        share = numbers / self.world
        if settings.zero_stage == 3:
            kept_off = settings.offload_parameters and self.on_gpu
            yield Part("trained weights", 0.0 if kept_off else share)
        else:
            yield Part("trained weights", numbers)
            yield Part("buffer of the reduction", min(numbers, _LARGEST_BUCKET))
        if not (settings.offload_optimizer and self.on_gpu):
            yield Part("AdamW's weights and moments", 3 * share)
        if self.config.train.ema_decay:
            yield Part("running mean", numbers)

    def _offloaded(self) -> Iterator[Part]:
        """What waits in the memory of the host, of all processes of a machine."""
        settings = self.config.deepspeed
        if not self.on_gpu or not settings.zero_stage:
            return
        machine = self.per_machine / self.world
        if settings.offload_optimizer:
            yield Part("AdamW's weights, moments and gradients", 4 * 4 * self.numbers * machine)
        if settings.offload_parameters and settings.zero_stage == 3:
            base = 0.0 if self.whole else len(self.trained) * self._expert_bytes
            yield Part("networks that train", (base + 4 * self.numbers) * machine)
        if self.whole and self._reference_leaves and self.config.reward.kl_weight > 0:
            yield Part("untrained networks", len(self.trained) * self._expert_bytes * self.per_machine)

    # ---- what is done --------------------------------------------------------------------------------------------

    def _decoding(self, batch: int) -> Iterator[Part]:
        chunk, frames = self.config.sampling.decode_chunk, self.config.data.num_frames
        in_one_piece = chunk is None or chunk >= self.latent_frames
        if in_one_piece and not self.config.sampling.decode_region and self.config.reward.gradient_frame_stride == 1:
            yield Part("decoding and back", batch * self.decode_factor * self.decoder.whole())
            yield Part("faces", batch * frames * self.faces.face)
            return
        chunk = min(chunk or self.latent_frames, self.latent_frames)
        pulled = self.decoder.whole() if chunk == self.latent_frames else self.decoder.chunked(chunk)
        at_once = min(family.TEMPORAL_FACTOR * chunk, frames)
        yield Part("decoding and back", self.decode_factor * pulled)
        yield Part("faces", max(at_once * self.faces.face, min(at_once, _FRAMES_AT_ONCE) * self.faces.frame))

    def _updating(self) -> Iterator[Part]:
        settings = self.config.deepspeed
        if not (settings.offload_optimizer and settings.zero_stage and self.on_gpu):
            share = self.world if settings.zero_stage else 1
            yield Part("AdamW's step", 4 * self.numbers / share)

    def _rendering(self, batch: int) -> Iterator[Part]:
        frames, height, width = self.config.data.num_frames, self.height, self.width
        videos = batch * 3 * 4.0 * frames * height * width
        decoded = self.decode_factor * self.decoder.rendered(self.on_gpu)
        seen = min(frames, _FRAMES_AT_ONCE) * self.faces.frame
        yield Part("a step, or the decode", max(batch * self.sampling.forward, decoded + videos + seen))
