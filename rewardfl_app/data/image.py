"""Still images: reading, and the crop that brings images and frames to the size of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from rewardfl_app.data.errors import DataError

Pixels = NDArray[np.uint8]


class ImageError(DataError):
    """An image that cannot be read; the message names the file."""


def read(path: Path, height: int | None = None, width: int | None = None) -> Pixels:
    """The image as uint8 [H, W, 3] RGB, upright, cut to height x width pixels where given. Raises ImageError."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist.") from error
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
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
