"""One start per token: two clicks, or two tabs that show the same form, give one run.

RUNS_DIR/.tokens/ holds a file per token (under its digest) with the id of the run it gave; it is also the lock of that
token over all processes of this machine. Files older than a day are removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rewardfl_app.runs.folder import RunFolder

FOLDER = ".tokens"
_KEPT_SECONDS = 86_400.0


class StartToken:
    """A token while it is held. `run` is what an earlier start with it gave, None for the first."""

    def __init__(self, runs_dir: Path, file: BinaryIO | None) -> None:
        self._file = file
        name = "" if file is None else file.read().decode("utf-8", errors="replace").strip()
        found = RunFolder(runs_dir / name) if name and Path(name).name == name else None
        self.run = found if found is not None and found.exists() else None

    def keep(self, run: RunFolder) -> None:
        """This run is what the token gives from now on."""
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self._file.write(run.id.encode())
            self._file.flush()


@contextmanager
def held(runs_dir: Path, token: str | None) -> Iterator[StartToken]:
    """Hold a token; another process with the same one waits here. None is no token. Raises OSError."""
    if not token:
        yield StartToken(runs_dir, None)
        return
    folder = runs_dir / FOLDER
    folder.mkdir(exist_ok=True)
    _prune(folder)
    with open(folder / hashlib.sha256(token.encode()).hexdigest()[:32], "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(file.fileno())
        file.seek(0)
        yield StartToken(runs_dir, file)


def _prune(folder: Path) -> None:
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > _KEPT_SECONDS:
                os.unlink(entry.path)
