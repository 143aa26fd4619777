"""Everything that training will need of networks that do not train, computed ahead and kept beside the runs.

One large network at a time is in memory: the text encoder for all prompts, then the VAE's encoder for all pictures,
then the network of the leading steps for all noises. What is kept already is not computed, and where that is everything
the network is not even read.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardfl_app.config.family import TEMPORAL_FACTOR
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.data.errors import DataError

if TYPE_CHECKING:
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.clip_records import Part
    from rewardfl_app.rendering.clips import ClipEncoder
    from rewardfl_app.rendering.prefixes import NoiseKey, Prefixes

logger = logging.getLogger(__name__)

# told what is done, and how many of how many
Progress = Callable[[str, int, int], None]

_PICTURES: tuple[Part, ...] = ("condition", "clean", "reference")
_NUMBER_BYTES = 4  # latents are float32


@dataclass(frozen=True)
class Wanted:
    """Clips of one data set by position, each with the key of a noise that it is sampled from."""

    clips: ClipEncoder
    samples: Sequence[tuple[int, NoiseKey]]


def prepare(
    model: WanModel,
    wanted: Sequence[Wanted],
    prefixes: Prefixes | None,
    progress: Progress = lambda what, done, total: None,
    *,
    limit_bytes: int | None = None,
) -> None:
    """Computes and keeps what is missing; afterwards none of the networks that it took is in memory.

    A clip that cannot be used is passed over: whoever asks for it gets the error. `prefixes` None: of clips alone.
    `limit_bytes`: how much can be kept. Raises ConfigError when that is too little.
    """
    usable = [_Usable(each) for each in wanted]
    if limit_bytes is not None:
        _check_room(usable, prefixes is not None and prefixes.stop > 0, limit_bytes)
    rows = [(each, position) for each in usable for position in each.shapes]
    _stage("Encoding the prompts", [row for row in rows if row[0].lacks(("text",), row[1])], ("text",), progress)
    model.release("text_encoder")
    _stage("Encoding the clips", [row for row in rows if row[0].lacks(_PICTURES, row[1])], _PICTURES, progress)
    model.release("vae_encoder")
    if prefixes is None or prefixes.stop == 0:
        return
    missing = [(each.clips, position, noise) for each in usable for position, noise in each.missing(prefixes)]
    for done, (clips, position, noise) in enumerate(missing):
        progress("Sampling the leading steps", done, len(missing))
        prefixes.prepare(clips.encode([position])[0], noise)
    prefixes.let_go()


class _Usable:
    """The samples of `wanted` whose clip can be read: `shapes` has that of its latents by position."""

    def __init__(self, wanted: Wanted) -> None:
        self.clips = wanted.clips
        self.shapes: dict[int, tuple[int, int, int, int]] = {}
        for position in dict.fromkeys(position for position, _ in wanted.samples):
            try:
                self.clips.content(position)
                self.shapes[position] = self.clips.latent_shape(position)
            except DataError as error:
                logger.warning("not prepared: %s", error)
        self._samples = wanted.samples

    @property
    def samples(self) -> list[tuple[int, NoiseKey]]:
        return [sample for sample in self._samples if sample[0] in self.shapes]

    def lacks(self, parts: Sequence[Part], position: int) -> bool:
        return any(self.clips.missing(part, position) for part in parts)

    def drop(self, position: int) -> None:
        self.shapes.pop(position, None)

    def missing(self, prefixes: Prefixes) -> list[tuple[int, NoiseKey]]:
        found = []
        for position, noise in self.samples:
            if not prefixes.has(prefixes.key(self.clips.content(position), self.shapes[position], noise)):
                found.append((position, noise))
        return found


def _stage(what: str, rows: list[tuple[_Usable, int]], parts: tuple[Part, ...], progress: Progress) -> None:
    for done, (each, position) in enumerate(rows):
        progress(what, done, len(rows))
        try:
            each.clips.prepare(parts, position)
        except DataError as error:
            logger.warning("not prepared: %s", error)
            each.drop(position)


def _check_room(usable: Sequence[_Usable], with_prefixes: bool, limit_bytes: int) -> None:
    """Refuses what would push itself out again. Condition (mask and latents) and latents are nearly all of it."""
    total = 0
    for each in usable:
        latents = {at: math.prod(shape) * _NUMBER_BYTES for at, shape in each.shapes.items()}
        masks = {at: TEMPORAL_FACTOR * math.prod(shape[1:]) * _NUMBER_BYTES for at, shape in each.shapes.items()}
        total += sum(latents.values()) + sum(masks.values())
        total += sum(latents[position] for position, _ in each.samples) if with_prefixes else 0
    if total > limit_bytes:
        gigabytes = math.ceil(1.1 * total / 1e8) / 10
        message = (
            f"The clips and the leading steps of this run take about {gigabytes:g} GB, but {limit_bytes / 1e9:g} GB "
            "may be kept: raise it, or set sampling.prefix_seeds to 0."
        )
        raise ConfigError([Problem("data.cache_gb", message)])
