"""A video or a still image to be scored, read chunk by chunk so that its length costs no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewardfl_app.data import image, video
from rewardfl_app.data.errors import DamagedVideo
from rewardfl_app.data.image import Pixels
from rewardfl_app.data.video import VideoInfo

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
_PIXELS_AT_ONCE = 6_000_000  # 26 frames of 352 x 640, one of 4K: 72 MB where it becomes float32
_FALLBACK_FPS = 8.0  # of a still image, and of a video that does not say


@dataclass(frozen=True)
class ClipSource:
    """One file, opened anew for every pass over it. `is_still`: a picture, which is a clip of one frame."""

    path: Path
    is_still: bool
    info: VideoInfo

    @classmethod
    def open(cls, path: Path) -> ClipSource:
        """Raises DataError when the file is neither a video nor an image."""
        if image.is_still(path) or (path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()):
            pixels = image.read(path)
            return cls(path, True, VideoInfo(pixels.shape[0], pixels.shape[1], _FALLBACK_FPS, 1))
        info = video.probe(path)
        return cls(path, False, replace(info, fps=info.fps or _FALLBACK_FPS))

    def chunks(self, on_damage: Callable[[DamagedVideo], None] | None = None) -> Iterator[Pixels]:
        """Consecutive frames uint8 [n, H, W, 3]; as many at once as fit into a fixed number of pixels.

        The frames before a damage are given, and then `on_damage` is called. Raises DataError, also for damage where
        there is no `on_damage`.
        """
        if self.is_still:
            yield image.read(self.path)[None]
            return
        chunk = min(32, max(1, _PIXELS_AT_ONCE // (self.info.height * self.info.width)))
        yield from video.stream(self.path, chunk, on_damage)


def to_frames(pixels: Pixels) -> Tensor:
    """uint8 [n, H, W, 3] as uint8 [n, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
