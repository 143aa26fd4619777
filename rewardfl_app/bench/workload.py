"""What is measured: a configuration's networks and clips, driven by the engine and by the straightforward
implementation."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rewardfl_app.bench.smooth import brightness
from rewardfl_app.bench.straightforward import Score, Straightforward, decode, frame_by_frame
from rewardfl_app.config import schedule, validation
from rewardfl_app.config.schema import FACE_SIMILARITY, Config
from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset, Order
from rewardfl_app.models import adaptation, conditioning, sampling, wan
from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering.clips import ClipEncoder
from rewardfl_app.rendering.prefixes import Prefixes
from rewardfl_app.rendering.reward_gradient import RewardGradient
from rewardfl_app.rendering.scoring import ClipReference, Scorer
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.mixture import ClipReward
from rewardfl_app.rewards.pack import load_pack
from rewardfl_app.training import losses, weights
from rewardfl_app.training.engine import Engine
from rewardfl_app.training.ranks import Ranks
from rewardfl_app.training.samples import Samples, SampleSource
from rewardfl_app.training.step import TrainingStep

if TYPE_CHECKING:
    from rewardfl_app.data.dataset import Clip
    from rewardfl_app.models.adaptation import Adaptation

# Trained weights are moved this far from where they start (a LoRA that is zero has half of its gradient zero).
_MOVED = 0.02


class KeptGradient:
    """Stands where the engine is, and keeps the gradient of an update instead of applying it."""

    needs_every_pass = False

    def __init__(self, adaptations: dict[Any, Adaptation]) -> None:
        self.adaptations = adaptations
        self.gradient: Tensor | None = None
        self._parameters = [p for each in adaptations.values() for p in each.parameters()]

    def begin_update(self, num_backwards: int) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def backward(self, surrogate: Tensor) -> None:
        surrogate.backward()

    def discard(self) -> None:
        """The end of a rehearsal: one flat vector of all trained parameters."""
        self.gradient = flat_gradient(self._parameters)


class Workload:
    """One configuration, loaded, with the first batch of its clips."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rows = manifest.read(Path(config.data.metadata_path or ""))
        self.data = ClipDataset.of(rows, config)
        self.scorer = Scorer.load(config.reward, self.device)
        pack = load_pack(Path(config.reward.reward_model_path or ""), device=self.device)
        self.score: Score = frame_by_frame(IdentityReward(pack, config.reward))
        self.model = wan.load(config.model, self.device)
        self.adaptations = weights.adapt(self.model, config)
        for number, each in enumerate(self.adaptations.values()):
            _move(each, number)
        self._clips = ClipEncoder(self.model, self.data, self.scorer)
        self.prefixes = Prefixes(self.model, Grid.of(config), schedule.prefix_length(config))

    @property
    def parameters(self) -> list[Tensor]:
        """All trained parameters."""
        return [p for each in self.adaptations.values() for p in each.parameters()]

    def samples(self, config: Config, number: int = 0) -> Samples:
        """Batch of samples `number` of a configuration."""
        order = Order(len(self.data), config.train.seed)
        return SampleSource(self._clips, [row.index for row in self.data.rows], order, config, Ranks()).take(number)

    def step(self, engine: Any, config: Config, doing: Callable[[str], None] = lambda what: None) -> TrainingStep:
        """The engine's update under a configuration; `doing` is told what it does."""
        scorer = self.scorer if config.reward.rewards == self.config.reward.rewards else self._with_rewards(config)
        return TrainingStep(self.model, scorer, self.prefixes, engine, Ranks(), config, doing)

    def _with_rewards(self, config: Config) -> Scorer:
        return Scorer.load(config.reward, self.device)

    def engine(self) -> Engine:
        """DeepSpeed on the trained parameters, in the group of processes that the environment names, or alone."""
        if Ranks().size == 1:
            connect_alone()
        else:
            Ranks().connect()
        return Engine(self.adaptations, self.config)

    def gradient(self, config: Config, update: int = 1) -> Tensor:
        """The engine's gradient of the first batch in update number `update`, as one vector."""
        kept = KeptGradient(self.adaptations)
        self.step(kept, config).rehearse(self.samples(config), update)
        assert kept.gradient is not None
        return kept.gradient

    def straightforward(self, config: Config) -> Straightforward:
        """The plain implementation under a configuration."""
        score = self.score if config.reward.rewards == ((FACE_SIMILARITY, 1.0),) else _smooth
        return Straightforward(self.model, config, score, lambda: adaptation.untrained(self.adaptations.values()))

    def plain_inputs(self, samples: Samples) -> list[tuple[Clip, ClipReference, Tensor]]:
        """Clip, reference and noise [16, T', h, w] of each sample, for the plain implementation."""
        found = []
        for batch in samples.batches:
            if batch is None:
                continue
            for clip, key in zip(batch.batch.clips, batch.noise, strict=True):
                assert clip.reference is not None
                noise = sampling.seeded_noise(clip.latent_shape, *key)
                found.append((self.data[clip.row - 1], clip.reference, noise))
        return found

    def plain_gradient(self, config: Config, moved: float = 0.0) -> Tensor:
        """The same gradient from one graph for each sample. `moved`: shifts x_0 by so large a part of itself, up or
        down at random."""
        inputs = self.plain_inputs(self.samples(config))
        signs = torch.Generator().manual_seed(0)
        plain = self.straightforward(config)
        for parameter in self.parameters:
            parameter.grad = None
        for clip, reference, noise in inputs:
            noise = noise * (1 + moved * (2 * torch.randint(2, noise.shape, generator=signs) - 1))
            plain.pull_back(clip, reference, noise, len(inputs))
        return flat_gradient(self.parameters)

    def latents(self, latent_frames: int, room: int = 0) -> tuple[Tensor, ClipReference]:
        """Latents [1, 16, T', h, w] of the first clip, gone through again and again up to T', and its reference.

        `room`: pixels that are added on the left and on top, so that the face is a smaller part of the picture.
        """
        clip = self.data[0]
        video = F.pad(clip.video[None], (room, 0, room, 0, 0, 0), mode="replicate")
        clean = conditioning.encode_video(self.model.vae, video.to(self.device))
        rest = clean[:, :, 1:]
        rounds = -(-(latent_frames - 1) // rest.shape[2])
        latents = torch.cat([clean[:, :, :1], *([rest] * rounds)], dim=2)[:, :, :latent_frames]
        return latents, self.scorer.reference(clip)

    def reward_gradient(
        self, latents: Tensor, reference: ClipReference, config: Config | None = None
    ) -> Callable[[], Tensor]:
        """Decode, score and pull back by the engine's means: d loss / d latents."""
        taken = RewardGradient(self.model.vae, self.scorer, config or self.config)
        return lambda: taken.of(latents, [reference], lambda results: self._losses(_totals(results)), (0,)).adjoint

    def plain_reward_gradient(self, latents: Tensor, reference: ClipReference) -> Callable[[], Tensor]:
        """The same in one graph: the whole clip decoded, its frames scored one after the other."""

        def gradient() -> Tensor:
            leaf = latents.detach().clone().requires_grad_(True)
            rewards, _ = self.score(decode(self.model.vae, leaf), [reference])
            return torch.autograd.grad(self._losses(rewards).sum(), leaf)[0]

        return gradient

    def _losses(self, rewards: Tensor) -> Tensor:
        reward = self.config.reward
        return losses.reward_loss(rewards, weight=reward.reward_weight, mean=reward.reward_mean, std=reward.reward_std)


def changed(config: Config, **sections: dict[str, Any]) -> Config:
    """The configuration with other values in its sections, checked. Raises ConfigError."""
    mapping = config.model_dump(mode="json")
    for section, values in sections.items():
        mapping[section] = {**mapping[section], **values}
    return validation.build(mapping)


def in_one_process(config: Config) -> Config:
    """The configuration with the videos of all its processes in one."""
    videos = config.train.train_batch_size // config.train.gradient_accumulation_steps
    alone = {"num_processes": 1, "context_parallel": 1}
    return changed(config, deepspeed=alone, train={"per_device_train_batch_size": videos})


def connect_alone() -> None:
    """Makes a group of this process alone."""
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(alone, MASTER_PORT=str(free_port()))
    Ranks().connect()


def flat_gradient(parameters: Sequence[Tensor]) -> Tensor:
    """The gradients of all parameters in one vector; zero where there is none."""
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([gradient.detach().flatten() for gradient in found]).clone()


def _move(trained: Adaptation, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trained.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * _MOVED
            parameter.add_(noise.to(parameter.device))
    trained.moved = True


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _smooth(video: Tensor, references: Sequence[ClipReference]) -> tuple[Tensor, Tensor]:
    return brightness(video), torch.ones(len(video), dtype=torch.bool, device=video.device)


def _totals(results: Sequence[ClipReward]) -> Tensor:
    return torch.stack([result.total for result in results])
