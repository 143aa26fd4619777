"""Runs that are put away: a mark in run.json that lists leave out unless they are asked for.

Nothing is moved or removed. Deleting a run is the supervisor's (`supervisor.delete`): only it can tell that nothing
runs in the folder any more.
"""

from __future__ import annotations

import os
from pathlib import Path

from rewardfl_app.runs import about
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json


def archive(run: RunFolder) -> None:
    """Put a run away. Raises AboutError."""
    about.put(run, archived=True)


def unarchive(run: RunFolder) -> None:
    """Take a run out again. Raises AboutError."""
    about.put(run, archived=False)


def is_archived(run: RunFolder) -> bool:
    """Whether the run is put away."""
    return bool((read_json(run.run_info) or {}).get("archived"))


def num_bytes(run: RunFolder) -> int:
    """What the folder holds on disk; links are not followed, and what goes meanwhile is passed over."""
    total, folders = 0, [run.path]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
    return total
