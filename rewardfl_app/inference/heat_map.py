"""The heat map of a clip: |d reward / d pixel| of every frame as a video, brightest where the reward looks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from rewardfl_app.data.image import Pixels
from rewardfl_app.data.writer import VideoWriter
from rewardfl_app.inference import colours
from rewardfl_app.runs.jsonfile import write_json_atomic

MOST_FRAMES = 600
PERCENTILE = 99.9  # of the pixels that have any influence; what is beyond is shown as the brightest
GAMMA = 0.65  # of the brightness: a few pixels have far more influence than the rest
_DIMMED = 0.45
_EDGES = np.linspace(-16.0, 4.0, 8001)  # log10 of the values: steps of 0.6%

Advance = Callable[[int], None]


@dataclass(frozen=True)
class _Region:
    """Where a frame has values other than 0: top, left, height, width in pixels, and the largest value."""

    top: int
    left: int
    height: int
    width: int
    largest: float


class HeatMap:
    """Takes the gradients frame by frame, then writes heat.mp4 and heat.json.

    One scale holds for the whole clip, and it is known only at the end: until then the values lie in a temporary file,
    only the region around the faces, so that memory does not grow with the clip.
    """

    def __init__(self, height: int, width: int) -> None:
        self._size = (height, width)
        self._file: BinaryIO = tempfile.TemporaryFile()
        self._regions: list[_Region | None] = []
        self._means: list[float] = []
        self._histogram = np.zeros(len(_EDGES) - 1, dtype=np.int64)

    @property
    def num_frames(self) -> int:
        """Frames taken so far."""
        return len(self._means)

    def add(self, gradients: NDArray[np.floating]) -> None:
        """The next frames' |d reward / d pixel| [n, H, W], at least 0."""
        for values in gradients:
            self._means.append(float(values.mean(dtype=np.float64)))
            rows, columns = values.any(axis=1).nonzero()[0], values.any(axis=0).nonzero()[0]
            if not len(rows):
                self._regions.append(None)
                continue
            part = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float64)
            region = _Region(int(rows[0]), int(columns[0]), part.shape[0], part.shape[1], float(part.max()))
            self._regions.append(region)
            self._histogram += np.histogram(np.log10(part[part > 0]), _EDGES)[0]
            self._file.write((part / region.largest).astype(np.float16).tobytes())

    def scale(self) -> float:
        """The value that is shown brightest; 0 when no pixel has any influence."""
        total = int(self._histogram.sum())
        if not total:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self._histogram), total * PERCENTILE / 100.0))
        return float(10.0 ** _EDGES[place + 1])

    def write(self, folder: Path, fps: float, advance: Advance = lambda count: None) -> None:
        """Writes heat.mp4, bright on black, at `fps` frames per second and, when it is whole, heat.json.

        Raises VideoError, OSError.
        """
        with VideoWriter(folder / "heat.mp4", *self._size, fps, crf=16, preset="veryfast") as writer:
            for picture in self._pictures():
                writer.add(picture[None])
                advance(1)
        about = {"scale": self.scale(), "gamma": GAMMA, "frames": self._means}
        write_json_atomic(folder / "heat.json", about)

    def write_over(
        self, path: Path, fps: float, chunks: Iterable[Pixels], advance: Advance = lambda count: None
    ) -> None:
        """Writes the clip, darkened, with the heat on it: its frames are `chunks`, uint8. Raises VideoError."""
        with VideoWriter(path, *self._size, fps, crf=16, preset="veryfast") as writer:
            frames = (frame for pixels in chunks for frame in pixels)
            for picture, frame in zip(self._pictures(), frames, strict=False):
                dark = frame.astype(np.float32) * _DIMMED
                screen = 255.0 - (255.0 - dark) * (255.0 - picture) / 255.0
                writer.add(screen.round().astype(np.uint8)[None])
                advance(1)

    def _pictures(self) -> Iterator[Pixels]:
        """Each frame as RGB uint8 [H, W, 3]."""
        scale = self.scale()
        self._file.seek(0)
        for region in self._regions:
            picture = np.zeros((*self._size, 3), np.uint8)
            if region is not None:
                content = self._file.read(2 * region.height * region.width)
                values = np.frombuffer(content, np.float16).reshape(region.height, region.width).astype(np.float32)
                shown = colours.heat((values * (region.largest / scale)) ** GAMMA)
                picture[region.top : region.top + region.height, region.left : region.left + region.width] = shown
            yield picture
