"""Weights and face packs from where they are published: whole, verified, and on the terms that are shown first."""

from __future__ import annotations

from collections.abc import Callable

# Told while a file comes: its name or what is done with it, bytes that are there, bytes there will be.
Tell = Callable[[str, int, int], None]


class DownloadError(Exception):
    """A download that cannot be finished; the message names the file or the place and says what to do."""


def readable(num_bytes: float) -> str:
    """A number of bytes as people read it: 9.9 GB."""
    for unit in ("bytes", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"
