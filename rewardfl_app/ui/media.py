"""Pictures and videos for the page: files of the runs folder by address, first frames as small inline pictures."""

from __future__ import annotations

import base64
import io
import logging
from functools import lru_cache
from pathlib import Path

from PIL import Image

from rewardfl_app.data.errors import DataError
from rewardfl_app.ui import served_files

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def served_file(path: Path, runs_dir: Path) -> str | None:
    """Absolute path of a file that the page may load by address; None if it is missing or not for the browser."""
    found = served_files.find(str(path.absolute()), runs_dir.resolve())
    return None if found is None else str(found)


def thumbnail(path: Path, side: int = 192) -> str | None:
    """First frame of a video or a picture as a JPEG data address, at most `side` pixels high and wide.

    None when the file is missing or cannot be read (the page then shows an empty frame).
    """
    try:
        modified = path.stat().st_mtime_ns
    except OSError:
        return None
    return _thumbnail(str(path), modified, side)


@lru_cache(maxsize=512)
def _thumbnail(path: str, modified_ns: int, side: int) -> str | None:
    try:
        picture = first_frame(Path(path))
    except DataError as error:
        log.info("no first frame of %s: %s", path, error)
        return None
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def first_frame(path: Path) -> Image.Image:
    """First frame of a video, or the picture itself, as RGB.

    Raises:
        DataError: the file cannot be read or has no frame.
    """
    from rewardfl_app.data import image, video  # brings PyAV: 0.2 s that the start of the app need not wait for

    if path.suffix.lower() in PICTURE_SUFFIXES:
        return Image.fromarray(image.read(path))
    return Image.fromarray(video.read(path, num_frames=1)[0])
