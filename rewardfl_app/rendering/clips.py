"""Clips as the model takes them: prompt and first frame encoded once, the faces of the real video embedded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rewardfl_app.data.dataset import Clip, ClipDataset
from rewardfl_app.data.errors import DataError
from rewardfl_app.models import conditioning
from rewardfl_app.rendering.scoring import ClipReference, Scorer

if TYPE_CHECKING:
    from rewardfl_app.models.wan import WanModel

CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class EncodedClip:
    """One row ready for sampling and scoring.

    `text` [L, D] and `condition` [20, T', h, w] are the model's inputs, `clean` [16, T', h, w] the real clip's
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
        """Shape of the latents that are sampled: 16, T', h, w."""
        return conditioning.latent_shape(*self.size)

    @property
    def num_bytes(self) -> int:
        tensors = (self.text, self.condition, self.clean)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


class ClipEncoder:
    """Encodes rows of a dataset and keeps the most recent ones (up to CACHE_BYTES)."""

    def __init__(
        self,
        model: WanModel,
        dataset: ClipDataset,
        scorer: Scorer | None,
        *,
        with_clean: bool = False,
    ) -> None:
        """`scorer` None: the clips carry no reference. `with_clean`: also encode the real video, for the anchor."""
        self._model = model
        self._dataset = dataset
        self._scorer = scorer
        self._with_clean = with_clean
        self._kept: OrderedDict[int, EncodedClip] = OrderedDict()
        self._bytes = 0

    def encode(self, positions: Sequence[int]) -> list[EncodedClip]:
        """The clips at these positions of the dataset. Raises DataError naming the row."""
        missing = [position for position in dict.fromkeys(positions) if position not in self._kept]
        fresh = {position: self._encode(self._dataset[position]) for position in missing}
        for position in positions:
            if position in self._kept:
                self._kept.move_to_end(position)
        clips = [fresh[position] if position in fresh else self._kept[position] for position in positions]
        for position, clip in fresh.items():
            self._keep(position, clip)
        return clips

    def _keep(self, position: int, clip: EncodedClip) -> None:
        self._kept[position] = clip
        self._bytes += clip.num_bytes
        while self._bytes > CACHE_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.num_bytes

    def _encode(self, clip: Clip) -> EncodedClip:
        """One clip by itself: in a batch the last bits would depend on its neighbours, and a resumed run on what was
        kept."""
        reference = self._scorer.reference(clip) if self._scorer is not None else None
        device = self._model.device
        last = None if clip.last_frame is None else clip.last_frame[None].to(device)
        first = clip.first_frame[None].to(device)
        clean = conditioning.encode_video(self._model.vae, clip.video[None].to(device))[0] if self._with_clean else None
        return EncodedClip(
            row=clip.row.index,
            name=clip.row.video.stem,
            prompt=clip.row.prompt,
            text=conditioning.encode_prompts(self._model, [clip.row.prompt])[0],
            condition=conditioning.encode_condition(self._model.vae, first, clip.size[0], last)[0],
            clean=clean,
            reference=reference,
            size=clip.size,
        )


@dataclass(frozen=True)
class Batch:
    """Clips that are sampled together: all of one size. `text` [B, L, D], `condition` [B, 20, T', h, w]."""

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
