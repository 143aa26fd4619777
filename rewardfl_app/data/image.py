"""Still images: reading, and the crop that brings images and frames to the size of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.data.errors import DataError

Pixels = NDArray[np.uint8]


class ImageError(DataError):
    """An image that cannot be read; the message names the file."""


def is_still(path: Path) -> bool:
    """Whether a file is a picture that does not move, told by its content; an animated GIF or WebP is a video."""
    try:
        with open_plain(path) as file, Image.open(file) as image:
            return not getattr(image, "is_animated", False) or image.format == "MPO"  # phones: a JPEG and its depth
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError):
        return False


def read(path: Path, height: int | None = None, width: int | None = None) -> Pixels:
    """The image as uint8 [H, W, 3] RGB, upright, cut to height x width pixels where given. Raises ImageError.

    16 bits are brought to 8, transparency is ignored.
    """
    try:
        with open_plain(path) as file, Image.open(file) as image:
            pixels = np.array(_eight_bit(ImageOps.exif_transpose(image)).convert("RGB"))
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is no image: give a PNG or JPEG file.") from error
    except (OSError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise ImageError(f"{path} cannot be read as an image ({error}).") from error
    return pixels if height is None or width is None else cover(pixels, height, width)


def cover(pixels: Pixels, height: int, width: int) -> Pixels:
    """Scale a uint8 [H, W, 3] picture so that it covers height x width, and cut the centre out of it.

    The aspect ratio is kept. Shrinking averages over all source pixels (Lanczos), so nothing flickers.
    """
    source_height, source_width = pixels.shape[:2]
    if (source_height, source_width) == (height, width):
        return pixels
    scale = max(height / source_height, width / source_width)
    box_height, box_width = height / scale, width / scale
    top, left = (source_height - box_height) / 2, (source_width - box_width) / 2
    # Rounding must not push the box outside of the picture.
    box = (max(left, 0.0), max(top, 0.0), min(left + box_width, source_width), min(top + box_height, source_height))
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS, box=box))


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey as 8 bit: Pillow's own conversion would make everything above 255 white."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F" and values.max(initial=0.0) <= 1.0:
        values = values * 255.0
    elif values.max(initial=0.0) > 255.0:
        values = values / 257.0
    return Image.fromarray(np.clip(values.round(), 0, 255).astype(np.uint8))
