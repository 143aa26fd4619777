""".queue.json of a runs folder: the ids of the runs that wait, in the order they are to start.

The file is there only while something waits, so that asking costs one look at the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rewardfl_app.runs import file_lock
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


def lock(runs_dir: Path, wait: bool = True) -> AbstractContextManager[bool]:
    """One process at a time starts runs of this folder or changes their order; gives whether the lock is held.

    Without `wait` it is not when another process has it. Raises OSError.
    """
    return file_lock.held(Path(runs_dir) / f"{NAME}.lock", wait)


def _is_name(text: str) -> bool:
    return bool(text) and not text.startswith(".") and Path(text).name == text
