"""What was computed once and is kept for every later run: tensors and folders under RUNS_DIR/.cache, by content.

An entry's key is a digest of everything that it depends on (see `runs.content`), so an entry is never out of date: when
something changes, the key is another one. All runs and processes share the folder. Entries appear by renaming, which
makes concurrent writers safe; a file that cannot be read, or whose checksum is wrong, counts as absent and is removed.
What was not used for longest goes when there is more than the limit. Nothing is lost with the folder but time.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, uint8

from rewardfl_app.models.tensor_file import open_tensors

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.runs.folder import RunFolder

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_TEMPORARY = ".writing-"
_ABANDONED_AFTER = 24 * 3600.0  # seconds; a writer that was killed leaves its temporary folder behind
_ROOM = 0.9  # of the limit is kept when something has to go, so that it need not go at every write


@dataclass(frozen=True)
class Stored:
    """One entry: its tensors, on the CPU, and what else was written with them (JSON)."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


@dataclass(frozen=True)
class _Entry:
    path: Path
    used: float
    num_bytes: int


class Store:
    """Entries by kind ("text", "prefix" ...) and key, a digest. Trouble with the disk is logged, never raised."""

    def __init__(self, root: Path | None, limit_gb: float = 20.0) -> None:
        """`root` None or a limit of 0: nothing is found and nothing is kept."""
        self.root = root if limit_gb > 0 else None
        self._limit = int(limit_gb * 1e9)
        self._written: int | None = None  # bytes there, as far as this process knows; None before it has looked
        self._warned = False

    @classmethod
    def beside(cls, run: RunFolder, config: Config) -> Store:
        """The store that a run shares with the other runs of its folder."""
        return cls(run.path.parent / ".cache", config.data.cache_gb)

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self.root is not None

    @property
    def limit_bytes(self) -> int:
        """How much is kept at most; 0 when nothing is."""
        return self._limit if self.is_on else 0

    def has(self, kind: str, key: str) -> bool:
        """Whether there is an entry of tensors; it counts as used, and may still turn out to be damaged."""
        return self.root is not None and _used(self._file(self.root, kind, key))

    def get(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """The tensors of an entry, on the CPU; None when there is none."""
        stored = self.read(kind, key)
        return None if stored is None else stored.tensors

    def read(self, kind: str, key: str) -> Stored | None:
        """An entry with what was written beside its tensors; None when there is none."""
        if self.root is None:
            return None
        path = self._file(self.root, kind, key)
        if not _used(path):
            return None
        try:
            return _read(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            logger.warning("%s is damaged and made again (%s)", path, str(error).split("\n", 1)[0])
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None

    def put(self, kind: str, key: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
        """Keeps copies of tensors of any device; `meta` is anything that JSON can write, NaN included."""
        if self.root is None:
            return
        ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        about = {"meta": json.dumps(dict(meta or {})), "checksum": _checksum(ready), "format": "pt"}
        path = self._file(self.root, kind, key)

        def write(temporary: Path) -> Path:
            save_file(ready, temporary / path.name, about)
            return temporary / path.name

        self._add(path, sum(tensor.nbytes for tensor in ready.values()), write)

    def folder(self, kind: str, key: str) -> Path | None:
        """A folder that was kept, to be read and not changed; None when there is none.

        Another process may remove it (its room is needed) while it is read: a file that is gone means it is absent.
        """
        if self.root is None:
            return None
        path = self.root / kind / key
        return path if path.is_dir() and _used(path) else None

    def put_folder(self, kind: str, key: str, source: Path) -> None:
        """Keeps a copy of a folder and all that is in it; one that is there already stays."""
        if self.root is None:
            return
        path = self.root / kind / key

        def write(temporary: Path) -> Path:
            shutil.copytree(source, temporary / key)
            os.utime(temporary / key)  # copytree copies the source's time, which would make it the first to go
            return temporary / key

        if not path.is_dir():
            self._add(path, _num_bytes(source), write)

    def _add(self, path: Path, num_bytes: int, write: Callable[[Path], Path]) -> None:
        """`write` makes the entry in the temporary folder it is given and returns it."""
        if self.root is None or num_bytes > self._limit:
            return
        temporary: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(mkdtemp(prefix=_TEMPORARY, dir=self.root))
            made = write(temporary)
            # A folder that another process was quicker to make is in the way, and the same.
            with suppress(OSError) if made.is_dir() else nullcontext():
                os.replace(made, path)
            self._make_room(num_bytes)
        except (OSError, SafetensorError, shutil.Error) as error:
            if not self._warned:
                logger.warning("%s: nothing more is kept there (%s)", self.root, str(error).split("\n", 1)[0])
            self._warned = True
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    def _make_room(self, added: int) -> None:
        """Removes what was not used for longest when there is more than the limit."""
        # Other processes write here too, so the count of one's own is only trusted for a part of the limit.
        if self._written is not None and self._written + added <= self._limit:
            self._written += added
            return
        entries = sorted(self._entries(), key=lambda entry: entry.used)
        total = sum(entry.num_bytes for entry in entries)
        if total > self._limit:
            for entry in entries:
                if total <= self._limit * _ROOM:
                    break
                _remove(entry.path)
                total -= entry.num_bytes
        self._written = total + (self._limit - total) // 2

    def _entries(self) -> Iterator[_Entry]:
        """Everything that is kept; what killed writers left is removed on the way."""
        if self.root is None:
            return
        for kind in self.root.iterdir():
            if kind.name.startswith(_TEMPORARY):
                with suppress(OSError):
                    if time.time() - kind.stat().st_mtime > _ABANDONED_AFTER:
                        shutil.rmtree(kind, ignore_errors=True)
                continue
            for path in kind.iterdir() if kind.is_dir() else ():
                with suppress(OSError):  # another process removes, too
                    state = path.stat()
                    yield _Entry(path, state.st_mtime, _num_bytes(path) if path.is_dir() else state.st_size)

    @staticmethod
    def _file(root: Path, kind: str, key: str) -> Path:
        return root / kind / f"{key}{_SUFFIX}"


def _read(path: Path) -> Stored:
    with open_tensors(path) as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.offset_keys()}
        about = opened.metadata() or {}
    if about["checksum"] != _checksum(tensors):
        raise ValueError("its checksum is another")
    return Stored(tensors, json.loads(about["meta"]))


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of all bytes in the order of the names: the file format itself notices only a missing end."""
    value = 0
    for _, tensor in sorted(tensors.items()):
        value = zlib.crc32(tensor.reshape(-1).view(uint8).numpy(), value)
    return f"{value:08x}"


def _used(path: Path) -> bool:
    """Whether there is something at the path; its time of change becomes now, by which the oldest is told."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # a store that cannot be written can still be read
        return path.exists()
    return True


def _num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _remove(path: Path) -> None:
    """A folder is taken out of sight first, so that nobody finds half of it."""
    try:
        if not path.is_dir():
            path.unlink(missing_ok=True)
            return
        gone = Path(mkdtemp(prefix=_TEMPORARY, dir=path.parent.parent))
        with suppress(OSError):
            os.replace(path, gone / path.name)
        shutil.rmtree(gone, ignore_errors=True)
    except OSError as error:
        logger.warning("%s cannot be removed (%s)", path, error.strerror)
