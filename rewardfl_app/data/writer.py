"""Writing videos frame by frame: H.264 in mp4, which every browser plays, in memory that does not grow."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from rewardfl_app.data.errors import VideoError
from rewardfl_app.data.image import Pixels
from rewardfl_app.runs import durable

_ITU709 = 1  # FFmpeg's number of the BT.709 matrix, primaries and transfer curve
_LIMITED_RANGE = 1


class VideoWriter:
    """One mp4 (yuv420p, BT.709, index in front) that grows by `add`.

    A context manager: the file appears under its name only when the block ends without an error. H.264 takes even
    sizes, so an odd picture is written with its last row or column twice: `size` is (height, width) in the file.
    """

    def __init__(self, path: Path, height: int, width: int, fps: float, crf: int = 12, preset: str = "medium") -> None:
        """`height` and `width` in pixels, `fps` in frames per second.

        `crf`: x264's quality, 0 (lossless) to 51; 12 is visually lossless. `preset`: x264's speed. Raises VideoError.
        """
        self._path = Path(path)
        self._unfinished = self._path.with_name(f".{self._path.name}.part")
        self._shape = (height, width, 3)
        self.size = (height + height % 2, width + width % 2)
        try:
            self._container, self._stream = self._open(Fraction(fps).limit_denominator(1001), crf, preset)
        except OSError as error:  # FFmpeg's errors are OSErrors too
            self._unfinished.unlink(missing_ok=True)
            raise self._error(error) from error

    def add(self, frames: Pixels) -> None:
        """Append frames uint8 [n, H, W, 3] RGB. Raises VideoError."""
        if frames.ndim != 4 or frames.shape[1:] != self._shape or frames.dtype != np.uint8:
            wanted = "x".join(map(str, self._shape))
            found = f"{frames.dtype} {list(frames.shape)}"
            raise VideoError(f"{self._path}: frames must be uint8 [n, {wanted}], got {found}.")
        odd = [(0, self.size[axis] - self._shape[axis]) for axis in range(2)]
        try:
            for pixels in frames:
                padded = np.pad(pixels, (*odd, (0, 0)), mode="edge") if any(map(any, odd)) else pixels
                frame = VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
                self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if error is None:
                durable.put_in_place(self._unfinished, self._path)
        except OSError as failure:
            if error is None:
                raise self._error(failure) from failure
        finally:
            self._unfinished.unlink(missing_ok=True)

    def _open(self, fps: Fraction, crf: int, preset: str) -> tuple[OutputContainer, VideoStream]:
        container = av.open(str(self._unfinished), "w", format="mp4", options={"movflags": "+faststart"})
        # No B-frames and a key frame every 12: the page's player seeks to single frames.
        options = {"crf": str(crf), "preset": preset, "bf": "0", "g": "12"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = self.size
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _ITU709
        context.color_range = _LIMITED_RANGE
        return container, stream

    def _error(self, error: OSError) -> VideoError:
        return VideoError(f"{self._path} cannot be written ({error}).")
