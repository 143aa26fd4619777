"""One update: sample, score, take the gradient of the last steps, and let the engine apply it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.config import schedule
from rewardfl_app.config.schema import FACE_SIMILARITY
from rewardfl_app.models import lora, sampling, vae_sequence
from rewardfl_app.rendering.clips import Batch
from rewardfl_app.rendering.scoring import term_measure
from rewardfl_app.rendering.videos import ANCHOR_NOISE, TRAINING_NOISE
from rewardfl_app.training import gradients, losses

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.scoring import Scorer
    from rewardfl_app.training.engine import Engine, Ranks


class NonFiniteLoss(Exception):
    """The loss or its gradient became infinite or not a number; the message says at which step."""


@dataclass(frozen=True)
class Samples:
    """What one update of this process is made from: batches, and per batch the place of each sample in the whole
    update's batch."""

    batch: int
    batches: tuple[Batch, ...]
    slots: tuple[tuple[int, ...], ...]


# What is summed over samples, batches and ranks.
_SUMS = ("samples", "loss", "reward", "counted", "face_rate", "kl", "anchor", "not_finite")


class TrainingStep:
    """Computes updates; knows nothing about when, saving or reporting."""

    def __init__(self, model: WanModel, scorer: Scorer, engine: Engine, ranks: Ranks, config: Config) -> None:
        self._model = model
        self._scorer = scorer
        self._engine = engine
        self._ranks = ranks
        self._config = config
        self._trained: list[Expert] = schedule.trained_experts(config)
        self.plan = gradients.Plan.of(config)
        # Leading steps of networks that do not train: their result is a constant of the sample and its noise.
        experts = self.plan.grid.experts
        self._prefix = next(i for i, expert in enumerate(experts) if expert in self._trained)
        self._kept_prefix: tuple[int, list[Tensor]] | None = None
        # A reward that is more than the face similarity is recorded part by part, too.
        rewards = config.reward.rewards
        self._terms = [] if rewards == ((FACE_SIMILARITY, 1.0),) else [name for name, _ in rewards]

    def update(self, samples: Samples, step: int, learning_rate: float) -> dict[str, float | None]:
        """Makes update number `step`; returns loss, reward, kl, grad_norm, face_rate (and anchor), averaged over all
        samples.

        Raises NonFiniteLoss, on all ranks together and before anything is changed.
        """
        with_anchor = self._config.reward.anchor_weight > 0
        per_batch = self.plan.num_backwards + int(with_anchor)
        self._engine.begin_update(per_batch * len(samples.batches))
        scale = 1.0 / len(samples.batches)
        prefixes = self._prefixes(samples)
        names = [*_SUMS, *(key for name in self._terms for key in (term_measure(name), _count_of(name)))]
        sums = dict.fromkeys(names, 0.0)
        for batch, slots, prefix in zip(samples.batches, samples.slots, prefixes, strict=True):
            if with_anchor:
                self._anchor(batch, slots, step, scale, sums)
            self._reward(batch, prefix, scale, sums)
        total = dict(zip(names, self._ranks.sum(list(sums.values())), strict=True))
        if total["not_finite"] or not math.isfinite(total["loss"]):
            self._engine.discard()
            raise NonFiniteLoss(f"The loss became infinite or not a number at step {step}.")
        norm = self._engine.step(learning_rate)
        if not self._ranks.all_true(math.isfinite(norm)):
            raise NonFiniteLoss(f"The gradient became infinite or not a number at step {step}.")
        count = total["samples"]
        record: dict[str, float | None] = {
            "loss": total["loss"] / count,
            "reward": total["reward"] / total["counted"] if total["counted"] else None,
            "kl": total["kl"] / count if self.plan.kl_steps else None,
            "grad_norm": norm,
            "face_rate": total["face_rate"] / count,
        }
        for name in self._terms:
            scored = total[_count_of(name)]
            record[term_measure(name)] = total[term_measure(name)] / scored if scored else None
        if with_anchor:
            record["anchor"] = total["anchor"] / count
        return record

    def _prefixes(self, samples: Samples) -> list[Tensor]:
        """Latents after the frozen leading steps, per batch; kept for further rounds over the same samples."""
        if self._kept_prefix is not None and self._kept_prefix[0] == samples.batch:
            return self._kept_prefix[1]
        prefixes = []
        for batch, slots in zip(samples.batches, samples.slots, strict=True):
            key = (TRAINING_NOISE, self._config.train.seed, samples.batch)
            noise = torch.stack([sampling.seeded_noise(batch.latent_shape, *key, slot) for slot in slots])
            velocity = sampling.velocities(self._model.experts, self.plan.grid, batch.text, batch.condition)
            with torch.no_grad():
                start = noise.to(self._model.device)
                prefixes.append(sampling.rollout(velocity, start, self.plan.grid, stop=self._prefix)[-1])
        self._kept_prefix = (samples.batch, prefixes) if self._config.train.num_train_epochs > 1 else None
        return prefixes

    def _reward(self, batch: Batch, start: Tensor, scale: float, sums: dict[str, float]) -> None:
        """Sampling, reward and KL of one batch, with their backward passes."""
        plan, backward = self.plan, self._engine.backward
        velocity = sampling.velocities(self._model.experts, plan.grid, batch.text, batch.condition)
        trained = [self._model.experts[expert] for expert in self._trained]

        def reference(step: int, x: Tensor) -> Tensor:
            with lora.disabled(trained):
                return velocity(step, x)

        forward = gradients.sample(velocity, reference, start, plan, backward, start=self._prefix, scale=scale)
        adjoint, reward_loss, sums_of_reward = self._score(batch, forward.final, scale)
        kl = gradients.pull_back(velocity, reference, forward, adjoint, plan, backward, scale=scale)
        loss = reward_loss + plan.kl_weight * kl.cpu()
        sums["samples"] += len(batch.clips)
        sums["loss"] += float(loss.sum())
        sums["kl"] += float(kl.sum())
        sums["not_finite"] += float(not (torch.isfinite(loss).all() and torch.isfinite(adjoint).all()))
        for name, value in sums_of_reward.items():
            sums[name] += value

    def _score(self, batch: Batch, latents: Tensor, scale: float) -> tuple[Tensor, Tensor, dict[str, float]]:
        """dL/dx_N of the batch's mean reward loss times scale, the loss of each sample [B], and sums for the record.

        A sample without a face adds nothing to the loss and gets no gradient, but still counts as a sample.
        """
        reward = self._config.reward
        final = latents.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            frames = vae_sequence.decode(self._model.vae, final)
            references = [clip.reference for clip in batch.clips]
            results = self._scorer.rewards(frames, [known for known in references if known is not None])
            rewards = torch.stack([result.total for result in results])
            counted = torch.tensor([float(result.counted) for result in results], device=rewards.device)
            loss = losses.reward_loss(
                rewards, weight=reward.reward_weight, mean=reward.reward_mean, std=reward.reward_std
            )
            loss = torch.where(counted > 0, loss, rewards * 0)
            (adjoint,) = torch.autograd.grad(scale * loss.mean(), final)
        sums = {
            "reward": float((rewards.detach() * counted).sum()),
            "counted": float(counted.sum()),
            "face_rate": float(sum(result.faces.face_rate for result in results)),
        }
        for name in self._terms:
            known_values = [value for result in results if (value := result.terms[name]) is not None]
            sums[term_measure(name)] = sum(known_values)
            sums[_count_of(name)] = float(len(known_values))
        return adjoint, loss.detach().cpu(), sums

    def _anchor(self, batch: Batch, slots: Sequence[int], step: int, scale: float, sums: dict[str, float]) -> None:
        """Flow matching on the batch's real clips, at a step of the trained experts drawn per sample."""
        grid = self.plan.grid
        steps = [i for i, expert in enumerate(grid.experts) if expert in self._trained]
        drawn, noises = [], []
        for slot in slots:
            generator = sampling.seeded_generator(ANCHOR_NOISE, self._config.train.seed, step, slot)
            drawn.append(steps[int(torch.randint(len(steps), (1,), generator=generator))])
            noises.append(torch.randn(batch.latent_shape, generator=generator))
        clean = torch.stack([clip.clean for clip in batch.clips if clip.clean is not None])
        noise = torch.stack(noises).to(clean.device)
        sigmas = torch.tensor([grid.sigmas[i] for i in drawn], device=clean.device)
        values = torch.zeros(len(slots), device=clean.device)
        with torch.enable_grad():
            for expert in self._trained:
                chosen = [i for i, at in enumerate(drawn) if grid.experts[at] == expert]
                if not chosen:
                    continue
                x = sampling.noise_level(clean[chosen], noise[chosen], sigmas[chosen].view(-1, 1, 1, 1, 1))
                v = sampling.predict_velocity(
                    self._model.experts[expert], x, sigmas[chosen], batch.text[chosen], batch.condition[chosen]
                )
                values = values.index_put((torch.tensor(chosen),), losses.anchor(v, clean[chosen], noise[chosen]))
            weight = self._config.reward.anchor_weight
            self._engine.backward(scale * weight * values.mean())
        total = float(values.detach().sum())
        sums["anchor"] += total
        sums["loss"] += weight * total
        sums["not_finite"] += float(not math.isfinite(total))


def _count_of(name: str) -> str:
    return f"counted/{name}"
