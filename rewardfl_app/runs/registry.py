"""All runs of a runs folder, and how one is found."""

from __future__ import annotations

import difflib
from pathlib import Path

from rewardfl_app.runs.folder import RunError, RunFolder


class RunNotFound(RunError):
    """No run has this id, or the folder is not a run."""


def list_runs(runs_dir: Path) -> list[RunFolder]:
    """Every run, newest first; [] when the folder does not exist. Other folders are passed over."""
    try:
        children = list(Path(runs_dir).expanduser().absolute().iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    runs = [RunFolder(path) for path in children if not path.name.startswith(".")]
    return sorted((run for run in runs if run.exists()), key=lambda run: run.id, reverse=True)


def find(runs_dir: Path, run: str | Path) -> RunFolder:
    """The run with this id, or in this folder (which may lie anywhere). Raises RunNotFound."""
    text = str(run).strip()
    if not text:
        raise RunNotFound("No run was named: give a run's id or its folder.")
    if Path(text).name == text and text not in (".", ".."):
        by_id = RunFolder(Path(runs_dir).expanduser().absolute() / text)
        if by_id.exists():
            return by_id
    by_path = RunFolder(Path(text).expanduser().absolute())
    if by_path.exists():
        return RunFolder(by_path.path.resolve())
    if by_path.path.is_dir():
        raise RunNotFound(f"{by_path.path} is not a run: it has no run.json.")
    known = [found.id for found in list_runs(runs_dir)]
    close = difflib.get_close_matches(text, known, n=1, cutoff=0.6) or known[:1]
    hint = f" Did you mean {close[0]}?" if close else " There are no runs there yet."
    raise RunNotFound(f"There is no run {text!r} in {Path(runs_dir).expanduser().absolute()}.{hint}")
