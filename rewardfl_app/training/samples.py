"""What an update is made from: clips with their noise, the same whatever the number of processes.

Slot k of a batch of samples is the same row with the same noise on every layout of ranks. A clip that cannot be used is
left out: the other samples keep their weight, and all ranks go on together.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rewardfl_app.data.errors import DataError
from rewardfl_app.models.sampling import seeded_generator
from rewardfl_app.rendering.clips import Batch
from rewardfl_app.rendering.videos import TRAINING_NOISE
from rewardfl_app.training.failure import PeerFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rewardfl_app.config.schema import Config
    from rewardfl_app.data.dataset import Order
    from rewardfl_app.rendering.clips import ClipEncoder, EncodedClip
    from rewardfl_app.training.ranks import Ranks

logger = logging.getLogger(__name__)

NoiseKey = tuple[int, ...]

# First parts of the keys of what is drawn here, beside those of rendering.videos.
_PREFIX_NOISE = 0x70726566
_PREFIX_DRAW = 0x64726177


@dataclass(frozen=True)
class MicroBatch:
    """Clips that are sampled together, the slot of each in the whole batch of samples and the key of its noise.

    `counts` False: it stands in for clips that cannot be used. It takes part in every pass, because processes that
    share divided weights wait for each other in each, and adds nothing.
    """

    batch: Batch
    slots: tuple[int, ...]
    noise: tuple[NoiseKey, ...]
    counts: bool = True


@dataclass(frozen=True)
class Samples:
    """This process's share of batch of samples `number`.

    `rows`: the row in every slot of the whole batch. `failed`: the slots of all processes whose clip could not be
    used.
    """

    number: int
    rows: tuple[int, ...]
    batches: tuple[MicroBatch, ...]
    failed: tuple[int, ...]


class SampleSource:
    """Takes rows in the data's order and gives them noise."""

    def __init__(self, clips: ClipEncoder, indices: Sequence[int], order: Order, config: Config, ranks: Ranks) -> None:
        """`indices`: the row number, as people count them, of every position in the data set."""
        self._clips = clips
        self._indices = indices
        self._order = order
        self._num_rows = len(indices)
        self._train = config.train
        self._prefix_seeds = config.sampling.prefix_seeds
        self._ranks = ranks

    def take(self, number: int) -> Samples:
        """Batch of samples `number` (from 0); all ranks call it.

        Raises DataError when no clip of the whole batch can be used; a rank that is not to blame raises PeerFailed.
        """
        positions = self._positions(number)
        clips: dict[int, EncodedClip] = {}
        errors: dict[int, DataError] = {}
        for slot in (slot for slots in self._own_slots() for slot in slots):
            try:
                clips[slot] = self._clips.encode([positions[slot]])[0]
            except DataError as error:
                logger.warning("left out: %s", error)
                errors[slot] = error
        failed = self._ranks.any_true([slot in errors for slot in range(len(positions))])
        usable = {slot: clip for slot, clip in clips.items() if not failed[slot]}
        found = [self._micro_batch(number, positions, slots, usable) for slots in self._own_slots()]
        batches = [batch for batch in found if batch is not None]
        if all(failed) or not self._ranks.all_true(len(batches) == len(found)):
            raise next(iter(errors.values()), PeerFailed("another process has no clip that can be used"))
        rows = tuple(self._indices[position] for position in positions)
        return Samples(number, rows, tuple(batches), tuple(slot for slot, flag in enumerate(failed) if flag))

    def noise_key(self, number: int, slot: int, position: int) -> NoiseKey:
        """The key of a sample's noise: fresh for every sample or, for prefixes that are kept, one of a few per row."""
        if not self._prefix_seeds:
            return (TRAINING_NOISE, self._train.seed, number, slot)
        generator = seeded_generator(_PREFIX_DRAW, self._train.seed, number, slot)
        drawn = int(torch.randint(self._prefix_seeds, (1,), generator=generator))
        return (_PREFIX_NOISE, self._train.seed, self._indices[position], drawn)

    def needed(self, numbers: range) -> list[tuple[int, NoiseKey]]:
        """Position and noise key of every sample of this process in these batches, each pair once."""
        found: dict[tuple[int, NoiseKey], None] = {}
        for number in numbers:
            positions = self._positions(number)
            for slot in (slot for slots in self._own_slots() for slot in slots):
                found[positions[slot], self.noise_key(number, slot, positions[slot])] = None
        return list(found)

    def _positions(self, number: int) -> list[int]:
        size = self._train.per_device_train_batch_size * self._train.gradient_accumulation_steps
        size *= self._ranks.data_size
        return self._order.take(number * size, size)

    def _own_slots(self) -> list[range]:
        """The slots of each of this process's batches."""
        size, ranks = self._train.per_device_train_batch_size, self._ranks
        turns = range(self._train.gradient_accumulation_steps)
        firsts = [(turn * ranks.data_size + ranks.data_rank) * size for turn in turns]
        return [range(first, first + size) for first in firsts]

    def _micro_batch(
        self, number: int, positions: Sequence[int], slots: Sequence[int], usable: Mapping[int, EncodedClip]
    ) -> MicroBatch | None:
        clips = {slot: usable[slot] for slot in slots if slot in usable}
        if not clips:
            stand_in = self._usable(number, positions)
            if stand_in is None:
                return None
            return MicroBatch(Batch.of([stand_in]), (slots[0],), ((TRAINING_NOISE, 0),), counts=False)
        noise = tuple(self.noise_key(number, slot, positions[slot]) for slot in clips)
        return MicroBatch(Batch.of(list(clips.values())), tuple(clips), noise)

    def _usable(self, number: int, positions: Sequence[int]) -> EncodedClip | None:
        """The next clip in the data's order that can be used; None when there is none at all."""
        tried = set(positions)
        for position in self._order.take((number + 1) * len(positions), 2 * self._num_rows):
            if position not in tried:
                tried.add(position)
                with suppress(DataError):
                    return self._clips.encode([position])[0]
        return None
