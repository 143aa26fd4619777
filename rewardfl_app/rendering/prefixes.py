"""Latents after the leading steps of networks that do not train: a constant of the clip and its noise.

They are computed once for each clip and noise, and kept beside the runs; training and evaluation then need neither the
network of those steps nor what encodes the inputs. Each sample is computed by itself, because in a batch the last bits
would depend on its neighbours, and a resumed run on what was kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.config import schedule
from rewardfl_app.models import sampling
from rewardfl_app.models.sampling import Grid
from rewardfl_app.runs import content

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.clips import Batch, EncodedClip
    from rewardfl_app.rendering.store import Store

NoiseKey = tuple[int, ...]
Agreed = Callable[[bool], bool]  # whether it is true of all processes that must do the same

KIND = "prefix"
_MEMORY_BYTES = 2**30
_FORMAT = 1  # raised when the same inputs give other latents


class Prefixes:
    """x_stop of clips and noises, through steps 0 .. stop - 1 of a grid."""

    def __init__(
        self,
        model: WanModel,
        grid: Grid,
        stop: int,
        store: Store | None = None,
        *,
        release: bool = False,
        agreed: Agreed = lambda value: value,
    ) -> None:
        """`stop`: the first step that is not run; with 0 the latents are the noise. `store`: where they are kept for
        good; the latest ones stay in memory in any case. `release`: let the networks go after every use. `agreed`: of
        processes that run the networks together and must do so equally often.
        """
        self._model = model
        self._grid = grid
        self.stop = stop
        self._store = store
        self._release = release
        self._agreed = agreed
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0
        self._networks: str | None = None

    @classmethod
    def of(
        cls, model: WanModel, config: Config, store: Store | None = None, *, agreed: Agreed = lambda value: value
    ) -> Prefixes:
        """Those of the steps before the first that trains; the networks go when clips and noises come again."""
        release = config.sampling.prefix_seeds > 0 and store is not None and store.is_on
        return cls(model, Grid.of(config), schedule.prefix_length(config), store, release=release, agreed=agreed)

    def latents(self, batch: Batch, keys: Sequence[NoiseKey], *, kept: bool = True) -> Tensor:
        """x_stop [B, 16, T', h, w], float32 on the model's device, from the seeded noise of one key per clip.

        `kept` False: for noise that never comes again. The batch is then sampled together, and nothing is looked up.
        """
        if len(keys) != len(batch.clips):
            raise ValueError(f"{len(batch.clips)} clips need as many noises, not {len(keys)}")
        if self.stop == 0 or not kept:
            noise = torch.stack([sampling.seeded_noise(batch.latent_shape, *key) for key in keys])
            return self._rollout(noise, batch.text, batch.condition)
        samples = [self._of(clip, key) for clip, key in zip(batch.clips, keys, strict=True)]
        if self._release:
            self.let_go()
        return torch.stack(samples).to(self._model.device)

    def key(self, clip_content: str, shape: Sequence[int], noise: NoiseKey) -> str:
        """The digest of everything that x_stop [shape] of a clip with this content (`EncodedClip.content`) depends
        on."""
        if self._networks is None:
            self._networks = self._model.digest(*dict.fromkeys(self._grid.experts[: self.stop]))
        return content.digest(
            {
                "format": _FORMAT,
                "networks": self._networks,
                "sigmas": self._grid.sigmas[: self.stop + 1],
                "experts": self._grid.experts[: self.stop],
                "clip": clip_content,
                "shape": list(shape),
                "noise": noise,
            }
        )

    def has(self, key: str) -> bool:
        """Whether the latents of this `key` are kept."""
        return self._agreed(key in self._kept or (self._store is not None and self._store.has(KIND, key)))

    def prepare(self, clip: EncodedClip, noise: NoiseKey) -> None:
        """Computes and keeps what `latents` will be asked for; the networks stay, whatever `release` says."""
        self._of(clip, noise)

    def let_go(self) -> None:
        """Gives the memory of the networks back that run the leading steps (those that train stay)."""
        self._model.release(*dict.fromkeys(self._grid.experts[: self.stop]))

    def _of(self, clip: EncodedClip, noise: NoiseKey) -> Tensor:
        """x_stop [16, T', h, w] of one clip, on the CPU."""
        key = self.key(clip.content, clip.latent_shape, noise) if clip.content else ""
        latents = self._found(key) if key else None
        if not self._agreed(latents is not None):
            latents = None
        if latents is None:
            start = sampling.seeded_noise(clip.latent_shape, *noise)[None]
            latents = self._rollout(start, clip.text[None], clip.condition[None])[0].cpu()
            if self._store is not None and key:
                self._store.put(KIND, key, {"latents": latents})
        if key:
            self._keep(key, latents)
        return latents

    def _found(self, key: str) -> Tensor | None:
        if key in self._kept:
            return self._kept[key]
        found = self._store.get(KIND, key) if self._store is not None else None
        return None if found is None else found["latents"]

    def _keep(self, key: str, latents: Tensor) -> None:
        if key in self._kept:
            self._bytes -= self._kept[key].nbytes
        self._kept[key] = latents
        self._kept.move_to_end(key)
        self._bytes += latents.nbytes
        while self._bytes > _MEMORY_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes

    @torch.no_grad()
    def _rollout(self, noise: Tensor, text: Tensor, condition: Tensor) -> Tensor:
        device = self._model.device
        velocity = sampling.velocities(self._model.experts, self._grid, text.to(device), condition.to(device))
        return sampling.rollout(velocity, noise.to(device), self._grid, stop=self.stop)[-1]
