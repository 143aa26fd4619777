""".queue.json of a runs folder: the ids of the runs that wait, in the order they are to start.

The file is there only while something waits, so that asking costs one look at the folder.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rewardfl_app.config.plain_file import open_to_append
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

NAME = ".queue.json"


def waiting(runs_dir: Path) -> list[RunFolder]:
    """The runs that wait, first to start first. Those that were started or are gone are passed over."""
    runs_dir = Path(runs_dir).absolute()
    content = read_json(runs_dir / NAME)
    ids = content.get("runs") if content else None
    if not isinstance(ids, list):
        return []
    # A name alone: what stands here must not lead out of the folder.
    names = [run for run in dict.fromkeys(ids) if isinstance(run, str) and _is_name(run)]
    runs = [RunFolder(runs_dir / name) for name in names]
    return [run for run in runs if run.exists() and not run.process.exists() and not run.exit.exists()]


def write(runs_dir: Path, runs: Sequence[RunFolder]) -> None:
    """Replace the order; inside `lock`. Raises OSError."""
    if runs:
        write_json_atomic(Path(runs_dir) / NAME, {"runs": [run.id for run in runs]})
    else:
        (Path(runs_dir) / NAME).unlink(missing_ok=True)


@contextmanager
def lock(runs_dir: Path, wait: bool = True) -> Iterator[bool]:
    """One process at a time starts runs of this folder or changes their order; gives whether the lock is held.

    Without `wait` it is not when another process has it. Raises OSError.
    """
    with open_to_append(Path(runs_dir) / f"{NAME}.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _is_name(text: str) -> bool:
    return bool(text) and not text.startswith(".") and Path(text).name == text
