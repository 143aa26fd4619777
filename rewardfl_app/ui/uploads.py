"""Files that the browser sent: what is accepted, and nothing taken on trust."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LARGEST_MB = 200
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"})
NAME_LIMIT = 80


class UploadError(Exception):
    """A file that is not accepted; the message is one sentence."""


@dataclass(frozen=True)
class Upload:
    """A file that was sent. `name` is what the person calls it, fit to be shown; `path` is where the server put it."""

    name: str
    path: Path


def accept(sent: object, suffixes: frozenset[str], folder: Path) -> Upload:
    """The uploaded file {path, name} if it lies in the server's upload folder and is of a type and size that is asked.

    Raises UploadError.
    """
    values = sent if isinstance(sent, Mapping) else {}
    path, name = values.get("path"), shown_name(values.get("name"))
    if not isinstance(path, str) or not path or "\0" in path:
        raise UploadError("No file was received: choose it again.")
    kind = Path(name).suffix.lower()
    if kind not in suffixes:
        raise UploadError(f"{name} is not one of {', '.join(sorted(suffixes))}: choose another file.")
    found = Path(path).resolve()
    # The address comes back from the page, so it may be anything: only what was uploaded is taken.
    if not found.is_relative_to(folder.resolve()) or not found.is_file() or found.suffix.lower() not in suffixes:
        raise UploadError(f"{name} is not there any more: choose it again.")
    size = found.stat().st_size
    if size == 0:
        raise UploadError(f"{name} is empty: choose another file.")
    if size > LARGEST_MB * 10**6:
        raise UploadError(f"{name} is larger than {LARGEST_MB} MB: cut it or make it smaller.")
    return Upload(name, found)


def shown_name(name: object) -> str:
    """The last part of a file name without control characters, at most NAME_LIMIT characters; its suffix is kept."""
    text = "".join(c for c in str(name or "") if c.isprintable()).replace("\\", "/").rpartition("/")[2].strip()
    stem, suffix = os.path.splitext(text)
    return (stem[: NAME_LIMIT - len(suffix)] + suffix)[-NAME_LIMIT:] or "file"
