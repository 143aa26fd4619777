"""What can be wrong with the data, as one sentence for people."""

from __future__ import annotations


class DataError(Exception):
    """A problem of the training data; the message names the file, and the row and column where there is one."""


class VideoError(DataError):
    """A video that cannot be read, is too short or cannot be written; the message names the file."""


class DamagedVideo(VideoError):
    """A video that can be read only up to a frame; `num_frames` lie before it, `reason` says what it is."""

    def __init__(self, path: object, num_frames: int, reason: str) -> None:
        self.path = path
        self.num_frames = num_frames
        self.reason = reason
        super().__init__(f"{path} is damaged after {_frames(num_frames)}: {reason}.")


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"
