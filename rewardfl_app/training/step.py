"""One update: sample, score, take the gradient of the chosen steps, and let the engine apply it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.config import schedule
from rewardfl_app.config.schema import FACE_SIMILARITY
from rewardfl_app.models import adaptation, sampling, threads
from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering.reward_gradient import RewardGradient
from rewardfl_app.rendering.scoring import term_measure
from rewardfl_app.rendering.videos import ANCHOR_NOISE
from rewardfl_app.training import gradients, losses
from rewardfl_app.training.gradient_plan import Plan
from rewardfl_app.training.kl_control import adapted

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config, Expert
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.clips import Batch
    from rewardfl_app.rendering.prefixes import Prefixes
    from rewardfl_app.rendering.scoring import Scorer
    from rewardfl_app.rewards.mixture import ClipReward
    from rewardfl_app.training.engine import Engine
    from rewardfl_app.training.ranks import Ranks
    from rewardfl_app.training.samples import MicroBatch, Samples

# First part of the key of the noise of DRaFT-LV, beside those of rendering.videos.
_RENOISED = 0x6C76
_DROPOUT = 0x64726F70


class NonFiniteLoss(Exception):
    """The loss or its gradient became infinite or not a number; the message says at which step and where."""


class _Sums:
    """What is summed over the samples, batches and ranks of one update.

    `not_finite`: per part of the loss a flag for every slot of the batch of samples.
    """

    def __init__(self, names: Iterable[str], slots: int) -> None:
        self.values = dict.fromkeys(names, 0.0)
        self.slots = slots
        self.not_finite = {part: [0.0] * slots for part in _PARTS}

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.values[name] += value

    def check(self, part: str, slots: Sequence[int], finite: Tensor) -> None:
        """Notes the slots whose `finite` [B] is False."""
        for slot, good in zip(slots, finite.tolist(), strict=True):
            self.not_finite[part][slot] += not good

    def over_ranks(self, ranks: Ranks) -> _Sums:
        flat = [*self.values.values(), *(flag for flags in self.not_finite.values() for flag in flags)]
        total = iter(ranks.sum(flat))
        summed = _Sums(self.values, self.slots)
        summed.values = {name: next(total) for name in self.values}
        summed.not_finite = {part: [next(total) for _ in range(self.slots)] for part in _PARTS}
        return summed


# Where a sample can stop being a number.
_PARTS = ("reward", "gradient of the reward", "divergence", "anchor")


class TrainingStep:
    """Computes updates; knows nothing about when, saving or reporting."""

    def __init__(
        self,
        model: WanModel,
        scorer: Scorer,
        prefixes: Prefixes,
        engine: Engine,
        ranks: Ranks,
        config: Config,
        doing: Callable[[str], None] = lambda what: None,
    ) -> None:
        """`prefixes`: of the steps before the first that trains. `doing` is told what is being done, for whoever must
        say where memory ran out."""
        self._model = model
        self._scorer = scorer
        self._reward_gradient = RewardGradient(model.vae, scorer, config)
        self._engine = engine
        self._ranks = ranks
        self._config = config
        self._doing = doing
        self._trained: list[Expert] = schedule.trained_experts(config)
        self._grid = Grid.of(config)
        self._prefixes = prefixes
        self._kept_prefix: tuple[int, list[Tensor]] | None = None
        self.kl_weight = config.reward.kl_weight
        """Weight of the divergence in the next update: state of the run where kl_target is set."""
        # A reward that is more than the face similarity is recorded part by part, too.
        rewards = config.reward.rewards
        self._terms = [] if rewards == ((FACE_SIMILARITY, 1.0),) else [name for name, _ in rewards]

    def change(self, config: Config, fields: set[str]) -> None:
        """Goes on with other live settings; `fields`: those that changed."""
        self._config = config
        self._reward_gradient = RewardGradient(self._model.vae, self._scorer, config)
        if "reward.kl_weight" in fields or config.reward.kl_target is None:
            self.kl_weight = config.reward.kl_weight

    def update(self, samples: Samples, step: int, learning_rate: float) -> dict[str, float | None]:
        """Makes update number `step`; returns loss, reward, kl, grad_norm, face_rate and more, averaged over all
        samples.

        Raises NonFiniteLoss, on all ranks together and before anything is changed.
        """
        plan = self._plan(step)
        total = self._accumulate(samples, step, plan)
        norm = self._checked_norm(samples, step, total)
        self._doing("updating the weights")
        self._engine.step(learning_rate)
        record = self._record(plan, total)
        record["grad_norm"] = norm
        if self._config.reward.kl_target is not None:
            record["kl_weight"] = self.kl_weight
            self.kl_weight = adapted(self.kl_weight, record["kl"], self._config.reward.kl_target)
        return record

    def rehearse(self, samples: Samples, step: int) -> None:
        """Computes the gradient of update `step` and drops it, so that a lack of memory shows before hours of work."""
        self._accumulate(samples, step, self._plan(step))
        self._engine.discard()

    def _plan(self, step: int) -> Plan:
        return Plan.draw(self._config, step, self.kl_weight)

    def _accumulate(self, samples: Samples, step: int, plan: Plan) -> _Sums:
        """All backward passes of an update; what they add up to over all ranks."""
        with_anchor = self._config.reward.anchor_weight > 0
        per_batch = plan.num_backwards + int(with_anchor)
        self._engine.begin_update(per_batch * len(samples.batches))
        # What was left out still counts here, so that it changes nothing for the others.
        scale = 1.0 / (len(samples.batches) * self._config.train.per_device_train_batch_size)
        names = [*_SUMS, *(key for name in self._terms for key in (term_measure(name), _count_of(name)))]
        sums = _Sums(names, len(samples.rows))
        for batch, prefix in zip(samples.batches, self._starts(samples), strict=True):
            weight, counting = (scale, sums) if batch.counts else (0.0, _Sums(names, len(samples.rows)))
            if with_anchor:
                self._anchor(batch, step, weight, counting)
            self._reward(batch, prefix, (self._config.train.seed, samples.number, step), plan, weight, counting)
        return sums.over_ranks(self._ranks)

    def _checked_norm(self, samples: Samples, step: int, total: _Sums) -> float:
        """The gradient's norm. Raises NonFiniteLoss, with nothing changed, saying where it went wrong."""
        for part, flags in total.not_finite.items():
            rows = sorted({samples.rows[slot] for slot, flag in enumerate(flags) if flag})
            if rows:
                self._engine.discard()
                raise NonFiniteLoss(
                    f"The loss became infinite or not a number at step {step}: the {part} of row "
                    f"{', '.join(map(str, rows))}. Nothing was changed by this step."
                )
        norm = self._engine.gradient_norm()
        if not self._ranks.all_true(math.isfinite(norm)):
            where = self._engine.where_not_finite()
            self._engine.discard()
            raise NonFiniteLoss(
                f"The gradient became infinite or not a number at step {step}"
                f"{f', first in {where}' if where else ''}. Nothing was changed by this step."
            )
        return norm

    def _record(self, plan: Plan, total: _Sums) -> dict[str, float | None]:
        sums, count = total.values, total.values["samples"]
        record: dict[str, float | None] = {
            "loss": sums["loss"] / count,
            "reward": sums["reward"] / sums["counted"] if sums["counted"] else None,
            "kl": sums["kl"] / count if plan.kl_steps else None,
            "face_rate": sums["face_rate"] / count,
        }
        for name in self._terms:
            scored = sums[_count_of(name)]
            record[term_measure(name)] = sums[term_measure(name)] / scored if scored else None
        if self._config.reward.anchor_weight > 0:
            record["anchor"] = sums["anchor"] / count
        if self._config.sampling.gradient_mode != "last_k":
            record["first_gradient_step"] = float(plan.steps[0])
        if count < total.slots:
            record["left_out"] = total.slots - count
        return record

    def _starts(self, samples: Samples) -> list[Tensor]:
        """Latents after the frozen leading steps, per batch; kept for further rounds over the same samples."""
        if self._kept_prefix is not None and self._kept_prefix[0] == samples.number:
            return self._kept_prefix[1]
        self._doing("sampling the steps before those that train")
        kept = self._config.sampling.prefix_seeds > 0
        prefixes = [
            self._prefixes.latents(batch.batch, batch.noise, kept=kept and batch.counts) for batch in samples.batches
        ]
        self._kept_prefix = (samples.number, prefixes) if self._config.train.num_train_epochs > 1 else None
        return prefixes

    def _reward(
        self, batch: MicroBatch, start: Tensor, key: tuple[int, int, int], plan: Plan, scale: float, sums: _Sums
    ) -> None:
        """Sampling, reward and KL of one batch, with their backward passes. `key`: seed, number of the samples, of the
        update."""
        engine, inputs = self._engine, batch.batch
        given = self._model.experts, plan.grid, inputs.text, inputs.condition
        plain, together = sampling.velocities(*given), partial(sampling.velocities_together, *given)

        def velocity(step: int, x: Tensor) -> Tensor:
            # The same masks whenever a step is run again
            masks = (_DROPOUT, *key, batch.slots[0], step)
            with adaptation.dropout(engine.adaptations.values(), masks):
                return plain(step, x)

        def references(steps: Sequence[int], latents: Sequence[Tensor]) -> list[Tensor]:
            found = []
            for expert, group in groupby(zip(steps, latents, strict=True), lambda each: plan.grid.experts[each[0]]):
                with engine.adaptations[expert].base():
                    found += together(*zip(*group, strict=True))
            return found

        self._doing("sampling")
        suited = partial(threads.suited_to, self._model.experts[plan.grid.experts[-1]], start)
        with suited():
            forward = gradients.sample(
                velocity, references, start, plan, engine.backward, start=self._prefixes.stop, scale=scale
            )
        kl, share = forward.kl, 1 / max(plan.renoised, 1)
        for turn in range(max(plan.renoised, 1)):
            taken = forward
            if plan.renoised:
                noise = [sampling.seeded_noise(inputs.latent_shape, _RENOISED, *key, s, turn) for s in batch.slots]
                taken = gradients.renoised(velocity, forward, torch.stack(noise).to(start.device), plan)
            else:
                taken = replace(forward, kl=torch.zeros_like(kl))
            adjoint = self._score(batch, taken.final, (*key, batch.slots[0], turn), share, scale, sums)
            self._doing("the backward pass through the sampling steps")
            with suited():
                pulled = gradients.pull_back(
                    velocity, references, taken, adjoint, plan, engine.backward, scale=scale * share
                )
            kl = kl + share * pulled
        sums.check("divergence", batch.slots, torch.isfinite(kl))
        sums.add(samples=len(inputs.clips), loss=plan.kl_weight * float(kl.sum()), kl=float(kl.sum()))

    def _score(
        self, batch: MicroBatch, latents: Tensor, key: tuple[int, ...], share: float, scale: float, sums: _Sums
    ) -> Tensor:
        """d loss / d x_N [B, 16, T, h, w] of `share` of the batch's reward losses times scale; adds up the record.

        A sample without a face adds nothing to the loss and gets no gradient, but still counts as a sample.
        """
        reward = self._config.reward

        def loss_of(results: Sequence[ClipReward]) -> Tensor:
            rewards = torch.stack([result.total for result in results])
            counted = torch.tensor([result.counted for result in results], device=rewards.device)
            loss = losses.reward_loss(
                rewards, weight=reward.reward_weight, mean=reward.reward_mean, std=reward.reward_std
            )
            return scale * share * torch.where(counted, loss, rewards * 0)

        self._doing("decoding and scoring the videos")
        references = [clip.reference for clip in batch.batch.clips if clip.reference is not None]
        pulled = self._reward_gradient.of(latents, references, loss_of, key)
        results = pulled.results
        sums.check("reward", batch.slots, torch.isfinite(pulled.losses))
        sums.check("gradient of the reward", batch.slots, torch.isfinite(pulled.adjoint).flatten(1).all(1))
        sums.add(
            loss=float(pulled.losses.sum()) / scale if scale else 0.0,
            reward=share * sum(float(result.total) for result in results if result.counted),
            counted=share * sum(result.counted for result in results),
            face_rate=share * sum(result.faces.face_rate for result in results),
        )
        for name in self._terms:
            known_values = [value for result in results if (value := result.terms[name]) is not None]
            sums.values[term_measure(name)] += share * sum(known_values)
            sums.values[_count_of(name)] += share * len(known_values)
        # Of ranks that share these videos all pull the same one back, to the last bit.
        return self._ranks.as_the_leader(pulled.adjoint)

    def _anchor(self, batch: MicroBatch, step: int, scale: float, sums: _Sums) -> None:
        """Flow matching on the batch's real clips, at a step of the trained experts drawn per sample."""
        self._doing("the flow-matching anchor")
        grid, inputs = self._grid, batch.batch
        steps = [i for i, expert in enumerate(grid.experts) if expert in self._trained]
        drawn, noises = [], []
        for slot in batch.slots:
            generator = sampling.seeded_generator(ANCHOR_NOISE, self._config.train.seed, step, slot)
            drawn.append(steps[int(torch.randint(len(steps), (1,), generator=generator))])
            noises.append(torch.randn(inputs.latent_shape, generator=generator))
        clean = torch.stack([clip.clean for clip in inputs.clips if clip.clean is not None])
        noise = torch.stack(noises).to(clean.device)
        sigmas = torch.tensor([grid.sigmas[i] for i in drawn], device=clean.device)
        values = torch.zeros(len(batch.slots), device=clean.device)
        with torch.enable_grad(), threads.suited_to(self._model.experts[self._trained[0]], clean):
            for expert in self._trained:
                chosen = [i for i, at in enumerate(drawn) if grid.experts[at] == expert]
                # Where the weights are divided, the other processes wait for this one to run the expert, too.
                run = chosen or [0] * self._engine.needs_every_pass
                if run:
                    masks = (_DROPOUT, ANCHOR_NOISE, self._config.train.seed, step, batch.slots[0])
                    found = self._anchor_values(expert, inputs, run, clean, noise, sigmas, masks)
                    kept = found if chosen else 0 * found
                    values = values.index_put((torch.tensor(run),), kept, accumulate=True)
            weight = self._config.reward.anchor_weight
            self._engine.backward(scale * weight * values.sum())
        sums.check("anchor", batch.slots, torch.isfinite(values.detach()))
        total = float(values.detach().sum())
        sums.add(anchor=total, loss=weight * total)

    def _anchor_values(
        self,
        expert: Expert,
        inputs: Batch,
        chosen: list[int],
        clean: Tensor,
        noise: Tensor,
        sigmas: Tensor,
        key: tuple[int, ...],
    ) -> Tensor:
        x = sampling.noise_level(clean[chosen], noise[chosen], sigmas[chosen].view(-1, 1, 1, 1, 1))
        text, condition = inputs.text[chosen], inputs.condition[chosen]
        with adaptation.dropout([self._engine.adaptations[expert]], key):
            v = sampling.predict_velocity(self._model.experts[expert], x, sigmas[chosen], text, condition)
        return losses.anchor(v, clean[chosen], noise[chosen])


_SUMS = ("samples", "loss", "reward", "counted", "face_rate", "kl", "anchor")


def _count_of(name: str) -> str:
    return f"counted/{name}"
