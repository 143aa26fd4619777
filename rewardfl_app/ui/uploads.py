"""Files that the browser sent: what is accepted, and nothing taken on trust.

An upload belongs to the browser that sent it (see `guard`): nobody else's request can use it, and it is served to
nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

LARGEST_MB = 200
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"})
NAME_LIMIT = 80
_PREFIX = "rewardfl-uploads-"
LARGEST_MEGAPIXELS = 80  # a picture of a few kilobytes can unfold to gigabytes
KEPT = 40  # files that were sent and not used yet; the oldest are removed

# The browser whose request is being answered; None outside of a request.
sender: ContextVar[str | None] = ContextVar("sender", default=None)


class UploadError(Exception):
    """A file that is not accepted; the message is one sentence."""


@dataclass(frozen=True)
class Upload:
    """A file that was sent. `name` is what the person calls it, fit to be shown; `path` is where the server put it."""

    name: str
    path: Path


class Received:
    """Who sent which file, for as long as the app runs."""

    def __init__(self) -> None:
        self._senders: OrderedDict[Path, set[str]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, path: Path, browser: str) -> None:
        """Remember a file that was just received; two browsers that send the same file share it."""
        with self._lock:
            self._senders.setdefault(path.resolve(), set()).add(browser)
            self._senders.move_to_end(path.resolve())
            while len(self._senders) > KEPT:
                self._senders.popitem(last=False)[0].unlink(missing_ok=True)

    def is_from(self, path: Path, browser: str) -> bool:
        """Whether this browser sent the file."""
        with self._lock:
            return browser in self._senders.get(path, ())


received = Received()


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder for uploads that only this user can look into; it is gone at the end.

    What an app that was killed left behind is removed, too.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/.lock"):
        with contextlib.suppress(OSError), open(left, "ab") as lock:  # OSError: another app's, or another user's
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    new = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
    with new as path, open(Path(path) / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(path)


def accept(sent: object, suffixes: frozenset[str], folder: Path) -> Upload:
    """The uploaded file {path, name} if this browser sent it and it is of a type and size that is asked.

    folder: where the server puts uploads.

    Raises UploadError.
    """
    values = sent if isinstance(sent, Mapping) else {}
    path, name = values.get("path"), shown_name(values.get("name"))
    if not isinstance(path, str) or not path or "\0" in path:
        raise UploadError("No file was received: choose it again.")
    kind = Path(name).suffix.lower()
    if kind not in suffixes:
        raise UploadError(f"{name} is not one of {', '.join(sorted(suffixes))}: choose another file.")
    try:
        found = Path(path).resolve()
    except (OSError, RuntimeError) as error:  # a name too long for a file, links in a circle
        raise UploadError(f"{name} is not there any more: choose it again.") from error
    # The address comes back from the page, so it may be anything: only what this browser uploaded is taken.
    browser = sender.get()
    known = found.is_relative_to(folder.resolve()) and (browser is None or received.is_from(found, browser))
    if not known or not found.is_file() or found.suffix.lower() not in suffixes:
        raise UploadError(f"{name} is not there any more: choose it again.")
    size = found.stat().st_size
    if size == 0:
        raise UploadError(f"{name} is empty: choose another file.")
    if size > LARGEST_MB * 10**6:
        raise UploadError(f"{name} is larger than {LARGEST_MB} MB: cut it or make it smaller.")
    if _pixels(found) > LARGEST_MEGAPIXELS * 10**6:
        raise UploadError(f"{name} has more than {LARGEST_MEGAPIXELS} million pixels: make it smaller.")
    return Upload(name, found)


def _pixels(path: Path) -> int:
    """How many pixels a picture says it has; 0 for what is none, which its reader will tell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return picture.width * picture.height
    except Image.DecompressionBombError:
        return 2**63
    except (OSError, ValueError, SyntaxError):
        return 0


def shown_name(name: object) -> str:
    """The last part of a file name without control characters, at most NAME_LIMIT characters; its suffix is kept."""
    text = "".join(c for c in str(name or "") if c.isprintable()).replace("\\", "/").rpartition("/")[2].strip()
    stem, suffix = os.path.splitext(text)
    return (stem[: NAME_LIMIT - len(suffix)] + suffix)[-NAME_LIMIT:] or "file"
