"""Rows of metadata.csv as tensors, and the order in which training takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from rewardfl_app.config import family
from rewardfl_app.data import image, video
from rewardfl_app.data.errors import DataError
from rewardfl_app.data.manifest import Row
from rewardfl_app.runs.content import file_digest

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config

# Another decoder may give other pixels.
_VERSIONS = {name: metadata.version(name) for name in ("av", "pillow")}


@dataclass(frozen=True)
class Clip:
    """One row's pixels: RGB in [-1, 1], float32.

    `video` [3, T, H, W]; `first_frame` and `last_frame` [3, H, W] are what the model is given (the clip's own frames,
    or the row's images); `last_frame` is None unless the end image is an input.
    """

    row: Row
    video: Tensor
    first_frame: Tensor
    last_frame: Tensor | None

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width in pixels."""
        return self.video.shape[1], self.video.shape[2], self.video.shape[3]


class ClipDataset(Dataset[Clip]):
    """Clips of `num_frames` frames, each brought to height x width, or to its own size within max_pixels."""

    def __init__(
        self,
        rows: Sequence[Row],
        num_frames: int,
        max_pixels: int,
        height: int | None = None,
        width: int | None = None,
        use_end_image: bool = False,
        size_multiple: int = 16,
    ) -> None:
        self.rows = list(rows)
        self._size_multiple = size_multiple
        self._num_frames = num_frames
        self._max_pixels = max_pixels
        self._size = (height, width) if height is not None and width is not None else None
        self._use_end_image = use_end_image
        self._fitted: dict[Path, tuple[int, int]] = {}

    @classmethod
    def of(cls, rows: Sequence[Row], config: Config) -> ClipDataset:
        """The rows at the size and with the inputs of a configuration."""
        data = config.data
        end_image = "end_image" in config.model.extra_inputs
        multiple = family.of(config.model).size_multiple
        return cls(rows, data.num_frames, data.max_pixels, data.height, data.width, end_image, multiple)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Clip:
        """The clip of row number index + 1. Raises DataError naming the row."""
        row = self.rows[index]
        try:
            height, width = self._clip_size(row)
            frames = video.read(row.video, self._num_frames, height, width)
            first = frames[0] if row.input_image is None else image.read(row.input_image, height, width)
            last = None
            if self._use_end_image:
                last = frames[-1] if row.end_image is None else image.read(row.end_image, height, width)
        except DataError as error:
            raise DataError(f"Row {row.index}: {error}") from error
        return Clip(
            row, to_tensor(frames), to_tensor(first[None])[:, 0], None if last is None else to_tensor(last[None])[:, 0]
        )

    def first_frame(self, index: int) -> Tensor:
        """The frame [3, H, W] the model starts from, without decoding the rest of the clip. Raises DataError naming
        the row."""
        row = self.rows[index]
        try:
            height, width = self._clip_size(row)
            if row.input_image is not None:
                return to_tensor(image.read(row.input_image, height, width)[None])[:, 0]
            return to_tensor(video.read(row.video, 1, height, width))[:, 0]
        except DataError as error:
            raise DataError(f"Row {row.index}: {error}") from error

    def size(self, index: int) -> tuple[int, int, int]:
        """Frames, height and width in pixels of a clip, without decoding it. Raises DataError naming the row."""
        row = self.rows[index]
        try:
            return self._num_frames, *self._clip_size(row)
        except DataError as error:
            raise DataError(f"Row {row.index}: {error}") from error

    def content(self, index: int) -> dict[str, object]:
        """What the pixels of a clip depend on, in values that JSON can write: its files, its size, what decodes them.

        Raises DataError naming the row.
        """
        row = self.rows[index]
        files = {"video": row.video, "input_image": row.input_image}
        if self._use_end_image:
            files["end_image"] = row.end_image
        try:
            digests = {name: path and file_digest(path) for name, path in files.items()}
        except OSError as error:
            raise DataError(f"Row {row.index}: {error.filename} cannot be read ({error.strerror}).") from error
        return {**digests, "size": self.size(index), "end_image_used": self._use_end_image, "versions": _VERSIONS}

    def _clip_size(self, row: Row) -> tuple[int, int]:
        if self._size is not None:
            return self._size
        if row.video not in self._fitted:
            info = video.probe(row.video)
            fitted = video.fit_size(info.height, info.width, self._max_pixels, self._size_multiple)
            self._fitted[row.video] = fitted
        return self._fitted[row.video]


def to_tensor(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 [T, H, W, 3] to float32 [3, T, H, W] in [-1, 1]."""
    return torch.tensor(np.ascontiguousarray(frames)).permute(3, 0, 1, 2).float() / 127.5 - 1


def to_pixels(frames: Tensor) -> NDArray[np.uint8]:
    """Float [3, T, H, W], nominally [-1, 1] (clamped here), to uint8 [T, H, W, 3]."""
    levels = ((frames.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 3, 0).cpu().numpy())


class Order:
    """An endless sequence of row positions: every pass over the data is a new permutation, fixed by (seed, pass).

    Any position can be asked for, so a resumed run needs nothing but the number of rows it has taken.
    """

    def __init__(self, num_rows: int, seed: int) -> None:
        if num_rows < 1:
            raise ValueError("an order needs at least one row")
        self._num_rows = num_rows
        self._seed = seed
        self._passes: dict[int, NDArray[np.int64]] = {}

    def take(self, start: int, count: int) -> list[int]:
        """Row positions start, ..., start + count - 1 of the sequence."""
        return [self._at(position) for position in range(start, start + count)]

    def _at(self, position: int) -> int:
        number, offset = divmod(position, self._num_rows)
        if number not in self._passes:
            self._passes = {key: value for key, value in self._passes.items() if key == number - 1}
            self._passes[number] = np.random.default_rng((self._seed, number)).permutation(self._num_rows)
        return int(self._passes[number][offset])
