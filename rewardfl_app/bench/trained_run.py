"""A run as a person starts it, `python -m rewardfl_app train`, in a folder of its own, and what its files tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Mapping
from pathlib import Path

from rewardfl_app.bench.case import CaseFailed
from rewardfl_app.config import files
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.status import Status, read_status

_LOOK_EVERY = 0.02  # seconds: a phase that is shorter may be missed, and costs no more
_STOP_SECONDS = 90.0


def train(
    config: Config,
    runs_dir: Path,
    seen: Callable[[Status], None] = lambda status: None,
    environment: Mapping[str, str] | None = None,
) -> tuple[RunFolder, float]:
    """Trains to the end in a new folder of `runs_dir`; returns it and when the run was asked for, Unix time.

    `seen` is told every status of the run, once. Raises CaseFailed with what the command said when the run does not
    complete. When this is cut short, the run is stopped.
    """
    before = {run.id for run in list_runs(runs_dir)} if runs_dir.is_dir() else set()
    with tempfile.TemporaryDirectory(prefix="rewardfl-train-") as folder:
        settings = Path(folder) / "config.yaml"
        files.dump(config, settings)
        command = [sys.executable, "-m", "rewardfl_app", "train", str(settings), "--runs-dir", str(runs_dir)]
        with (Path(folder) / "said").open("w+b") as said:
            asked = time.time()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=dict(os.environ, **environment or {}),
            )
            try:
                run = _follow(child, runs_dir, before, seen)
            except BaseException:
                _stop(child, runs_dir, before)
                raise
            said.seek(0)
            lines = [line for line in said.read().decode("utf-8", "replace").splitlines() if line.strip()]
    if run is None or child.returncode:
        last = lines[-1] if lines else f"the run ended with code {child.returncode}"
        raise CaseFailed(last.removeprefix("error:").strip())
    return run, asked


def _follow(
    child: subprocess.Popen[bytes], runs_dir: Path, before: set[str], seen: Callable[[Status], None]
) -> RunFolder | None:
    run: RunFolder | None = None
    last: Status | None = None
    while True:
        ended = child.poll() is not None
        if run is None:
            run = _begun(runs_dir, before)
        status = None if run is None else read_status(run)
        if status is not None and status != last:
            seen(status)
            last = status
        if ended:
            return run
        time.sleep(_LOOK_EVERY)


def _begun(runs_dir: Path, before: Container[str]) -> RunFolder | None:
    """The run that is there now and was not before."""
    return next((new for new in list_runs(runs_dir) if new.id not in before), None) if runs_dir.is_dir() else None


def _stop(child: subprocess.Popen[bytes], runs_dir: Path, before: Container[str]) -> None:
    """The run finishes its step and ends, and the command that follows it with it.

    By a request: a command that was started in the background of a shell ignores Ctrl-C.
    """
    run = _begun(runs_dir, before)
    if run is None:
        child.send_signal(signal.SIGINT)
    else:
        control.request(run, "stop_and_save")
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
