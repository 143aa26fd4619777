"""Temporary files of a trainer that was killed while it wrote."""

from __future__ import annotations

from rewardfl_app.runs.folder import RunFolder

_SUFFIXES = (".tmp", ".part")


def remove(run: RunFolder) -> None:
    """Remove what was never given its name; only while no trainer of this run lives. Raises OSError.

    Files that others than the trainer write are left alone: they may be at it.
    """
    own = (run.status, run.metrics, run.failure, run.exit, run.best)
    found = [path for file in own for path in run.path.glob(f".{file.name}.*")]
    for path in (*found, *run.samples.rglob(".*")):
        if path.suffix in _SUFFIXES and path.is_file():
            path.unlink(missing_ok=True)
