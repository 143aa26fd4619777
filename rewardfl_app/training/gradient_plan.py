"""Which steps carry which gradient in one update.

| mode | steps that carry the gradient | source |
|---|---|---|
| last_k | all from mid_timestep to final_timestep | DRaFT-K, arXiv 2309.17400; alpha 0: DRTune, 2405.00760 |
| random_k | the last k of them, k drawn evenly | AlignProp, 2310.03739 |
| random_steps | a drawn set, P(i) in proportion to (i + 1)^2; the others are passed over | FlowBP, 2606.11075 |
| draft_lv | the last, on several new noisings of the finished video | DRaFT-LV, 2309.17400 |
| refl | one, drawn evenly, whose clean prediction x0_hat is the video | ReFL (ImageReward), 2304.05977 |

What is drawn depends on the seed and the number of the update alone, so all ranks draw the same, and a resumed run too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rewardfl_app.config import schedule
from rewardfl_app.models.sampling import Grid, seeded_generator

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config

# First part of the key of what is drawn here, beside those of rendering.videos.
_PLAN = 0x706C616E


@dataclass(frozen=True)
class Plan:
    """The steps of one update.

    `steps`: ascending steps of the grid that carry the reward's gradient; but for random_steps the last of them is the
    grid's last. `kl_steps`: where the divergence from the reference is measured, empty when it has no weight.
    `alpha`: how much of the gradient flows on to the step before, 0 to 1. `kl_through_x`: whether the divergence's
    gradient flows there too (through the trained velocity only). `renoised`: noisings of the finished video on which
    the last step's gradient is taken, 0 for the video itself. `keep_graphs`: of how many gradient steps, the
    last ones, the graph is kept from sampling on.
    """

    grid: Grid
    steps: tuple[int, ...]
    kl_steps: tuple[int, ...] = ()
    alpha: float = 1.0
    kl_weight: float = 0.0
    kl_through_x: bool = False
    renoised: int = 0
    keep_graphs: int = 0

    @classmethod
    def draw(cls, config: Config, update: int, kl_weight: float | None = None) -> Plan:
        """The plan of update number `update`; `kl_weight` replaces the configuration's where it is adapted."""
        sampling, reward = config.sampling, config.reward
        generator = seeded_generator(_PLAN, config.train.seed, update)
        grid, steps = Grid.of(config), schedule.gradient_steps(config)
        mode = sampling.gradient_mode
        if mode == "random_k":
            steps = steps[-1 - int(torch.randint(len(steps), (1,), generator=generator)) :]
        elif mode == "random_steps":
            weights = torch.tensor([float((step + 1) ** 2) for step in steps])
            drawn = torch.multinomial(weights, sampling.num_gradient_steps, generator=generator)
            steps = sorted(steps[place] for place in drawn.tolist())
        elif mode == "draft_lv":
            steps = steps[-1:]
        elif mode == "refl":
            steps = [steps[int(torch.randint(len(steps), (1,), generator=generator))]]
            grid = grid.until(steps[0])
        weight = reward.kl_weight if kl_weight is None else kl_weight
        measured = steps if reward.kl_steps == "gradient" else schedule.kl_steps(config)
        return cls(
            grid=grid,
            steps=tuple(steps),
            kl_steps=tuple(step for step in measured if step < grid.num_steps) if weight > 0 else (),
            alpha=sampling.gradient_decay,
            kl_weight=weight,
            kl_through_x=reward.kl_through_x,
            renoised=sampling.num_renoised if mode == "draft_lv" else 0,
            keep_graphs=sampling.keep_graphs,
        )

    @property
    def num_backwards(self) -> int:
        """Backward calls of one batch: the same on every rank, whatever was sampled."""
        return len(self.steps) * max(self.renoised, 1) + len(self.kl_only)

    @property
    def kept(self) -> tuple[int, ...]:
        """The gradient steps whose graph is kept from sampling on. A video that is noised anew leaves none: its
        gradient is that of another step."""
        return self.steps[-self.keep_graphs :] if self.keep_graphs and not self.renoised else ()

    def carries(self, step: int) -> bool:
        """Whether the gradient flows on from this step to one before it."""
        return step in self.steps and step > self.steps[0] and self.alpha > 0

    @property
    def kl_only(self) -> tuple[int, ...]:
        """KL steps that do not carry the reward's gradient."""
        return tuple(step for step in self.kl_steps if step not in self.steps)
