"""Clips as the model takes them: prompt and first frame encoded once, the faces of the real video embedded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.data.dataset import Clip, ClipDataset
from rewardfl_app.data.errors import DataError
from rewardfl_app.models import conditioning
from rewardfl_app.rendering.clip_records import ClipRecords
from rewardfl_app.rendering.scoring import ClipReference, Scorer

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.data.manifest import Row
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.clip_records import Part
    from rewardfl_app.rendering.store import Store

CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class EncodedClip:
    """One row ready for sampling and scoring.

    `text` [L, D] and `condition` [4 + C, T', h, w] are the model's inputs, `clean` [C, T', h, w] the real clip's
    normalised latents (None unless the anchor needs them), `size` frames, height and width of the video in pixels.
    `content`: digest of everything that text and condition were made from, empty where that is not known.
    """

    row: int
    name: str
    prompt: str
    text: Tensor
    condition: Tensor
    clean: Tensor | None
    reference: ClipReference | None
    size: tuple[int, int, int]
    content: str = ""

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """Shape of the latents that are sampled: C, T', h, w."""
        return conditioning.latent_shape(self.condition)

    @property
    def num_bytes(self) -> int:
        tensors = (self.text, self.condition, self.clean)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def on(self, device: torch.device) -> EncodedClip:
        """The clip with its tensors on a device: itself where they are there already."""
        if self.text.device.type == device.type:
            return self
        clean = None if self.clean is None else self.clean.to(device)
        return replace(self, text=self.text.to(device), condition=self.condition.to(device), clean=clean)


class ClipEncoder:
    """Encodes rows of a dataset and keeps the most recent ones (up to CACHE_BYTES, in the memory of the host)."""

    def __init__(
        self,
        model: WanModel,
        dataset: ClipDataset,
        scorer: Scorer | None,
        *,
        with_clean: bool = False,
        records: ClipRecords | None = None,
        release: bool = False,
    ) -> None:
        """`scorer` None: the clips carry no reference. `with_clean`: also encode the real video, for the anchor.
        `records`: where the parts of a clip are kept for good. `release`: let the networks go after every use.
        """
        self._model = model
        self._dataset = dataset
        self._scorer = scorer
        self._with_clean = with_clean
        self._records = records
        self._release = release
        self._kept: OrderedDict[int, EncodedClip] = OrderedDict()
        self._bytes = 0

    @classmethod
    def of(
        cls, model: WanModel, dataset: ClipDataset, scorer: Scorer, config: Config, store: Store, *, with_clean: bool
    ) -> ClipEncoder:
        """Keeps in `store` what it encodes; the networks go when the same clips come again and again."""
        records = ClipRecords(model, dataset, config, store)
        release = config.sampling.prefix_seeds > 0 and store.is_on
        return cls(model, dataset, scorer, with_clean=with_clean, records=records, release=release)

    def encode(self, positions: Sequence[int]) -> list[EncodedClip]:
        """The clips at these positions of the dataset. Raises DataError naming the row."""
        missing = [position for position in dict.fromkeys(positions) if position not in self._kept]
        fresh = {position: self._encode(position) for position in missing}
        for position in positions:
            if position in self._kept:
                self._kept.move_to_end(position)
        clips = [fresh[position] if position in fresh else self._kept[position] for position in positions]
        for position, clip in fresh.items():
            self._keep(position, clip)
        return [clip.on(self._model.device) for clip in clips]

    def carry_clean(self) -> None:
        """From now on the clips carry the real video's latents, too."""
        if not self._with_clean:
            self._with_clean = True
            self._kept.clear()
            self._bytes = 0

    def let_networks_go(self) -> None:
        """From now on the networks go after every use: what they will be asked for is kept (see `preparation`)."""
        self._release = True

    def missing(self, part: Part, position: int) -> bool:
        """Whether a part that the clips carry still has to be computed. Raises DataError naming the row."""
        if self._records is None or not self._carries(part):
            return False
        return not self._records.has(part, position)

    def has_reference(self, position: int) -> bool:
        """Whether the reference of a clip is kept: its first frame shows a face then. Raises DataError naming the
        row."""
        records = self._records
        return records is not None and records.is_on and records.has("reference", position)

    def prepare(self, parts: Sequence[Part], position: int) -> None:
        """Computes these parts of a clip where they are missing, for the store alone. Raises DataError naming the
        row."""
        clip = _Lazily(self._dataset, position)
        for part in parts:
            if self.missing(part, position):
                if part == "reference":
                    self._reference(clip)
                else:
                    self._tensor(part, clip)

    def content(self, position: int) -> str:
        """What `EncodedClip.content` of the clip will be. Raises DataError naming the row."""
        return "" if self._records is None else self._records.keys(position).content

    def size(self, position: int) -> tuple[int, int, int]:
        """What `EncodedClip.size` of the clip will be. Raises DataError naming the row."""
        return self._dataset.size(position)

    def latent_shape(self, position: int) -> tuple[int, int, int, int]:
        """What `EncodedClip.latent_shape` of the clip will be. Raises DataError naming the row."""
        return self._model.family.latent_shape(*self.size(position))

    def _carries(self, part: Part) -> bool:
        return {"clean": self._with_clean, "reference": self._scorer is not None}.get(part, True)

    def _keep(self, position: int, clip: EncodedClip) -> None:
        self._kept[position] = clip
        self._bytes += clip.num_bytes
        while self._bytes > CACHE_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.num_bytes

    def _encode(self, position: int) -> EncodedClip:
        """One clip by itself: in a batch the last bits would depend on its neighbours, and a resumed run on what was
        kept."""
        clip, row = _Lazily(self._dataset, position), self._dataset.rows[position]
        reference = self._reference(clip) if self._scorer is not None else None
        encoded = EncodedClip(
            row=row.index,
            name=row.video.stem,
            prompt=row.prompt,
            text=self._tensor("text", clip),
            condition=self._tensor("condition", clip),
            clean=self._tensor("clean", clip) if self._with_clean else None,
            reference=reference,
            size=self._dataset.size(position),
            content=self.content(position),
        )
        if self._release:
            self._model.release("text_encoder", "vae_encoder")
        return encoded

    def _tensor(self, part: Part, clip: _Lazily) -> Tensor:
        found = None if self._records is None else self._records.tensor(part, clip.position)
        if found is None:
            found = self._computed(part, clip).cpu()
            if self._records is not None:
                self._records.keep(part, clip.position, found)
        return found

    def _computed(self, part: Part, clip: _Lazily) -> Tensor:
        if part == "text":
            return conditioning.encode_prompts(self._model, [clip.row.prompt])[0]
        pixels, device, vae = clip.get(), self._model.device, self._model.vae
        if part == "clean":
            return conditioning.encode_video(vae, pixels.video[None].to(device))[0]
        last = None if pixels.last_frame is None else pixels.last_frame[None].to(device)
        return conditioning.encode_condition(vae, pixels.first_frame[None].to(device), pixels.size[0], last)[0]

    def _reference(self, clip: _Lazily) -> ClipReference:
        assert self._scorer is not None
        found = None if self._records is None else self._records.reference(clip.position)
        if found is None:
            found = self._scorer.reference(clip.get())
            if self._records is not None:
                self._records.keep_reference(clip.position, found)
        return found


class _Lazily:
    """The pixels of a clip, decoded when they are first asked for."""

    def __init__(self, dataset: ClipDataset, position: int) -> None:
        self._dataset = dataset
        self.position = position
        self._clip: Clip | None = None

    @property
    def row(self) -> Row:
        return self._dataset.rows[self.position]

    def get(self) -> Clip:
        if self._clip is None:
            self._clip = self._dataset[self.position]
        return self._clip


@dataclass(frozen=True)
class Batch:
    """Clips that are sampled together: all of one size. `text` [B, L, D], `condition` [B, 4 + C, T', h, w]."""

    clips: tuple[EncodedClip, ...]
    text: Tensor
    condition: Tensor

    @classmethod
    def of(cls, clips: Sequence[EncodedClip]) -> Batch:
        """Raises DataError when the clips differ in size, naming two rows."""
        for clip in clips:
            if clip.size != clips[0].size:
                raise DataError(
                    f"Row {clips[0].row} is {_shown(clips[0])} and row {clip.row} is {_shown(clip)}, but they are "
                    "sampled together: set data.height and data.width, or train.per_device_train_batch_size to 1."
                )
        return cls(
            tuple(clips), torch.stack([clip.text for clip in clips]), torch.stack([clip.condition for clip in clips])
        )

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        return self.clips[0].latent_shape


def _shown(clip: EncodedClip) -> str:
    return f"{clip.size[1]} x {clip.size[2]}"
