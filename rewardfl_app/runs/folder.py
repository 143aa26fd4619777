"""The run folder: where each file of a run is, and how a new one is made.

One folder per run, plain files, one writer each; README's "run folder" table says what they hold. Everything the app,
the command line and the notebooks know about a run they read from here, so that they can be closed and opened again at
any time.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rewardfl_app.runs.jsonfile import write_json_atomic


class RunError(Exception):
    """Something about a run folder that the person can act on; the message is one sentence."""


class RunsFolderError(RunError):
    """The folder that holds the runs cannot be created or written."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside the folder of one run. Making the object touches no file."""

    path: Path

    @property
    def id(self) -> str:
        """The run's id: the name of its folder."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The frozen configuration; written once, before the child starts."""
        return self.path / "config.yaml"

    @property
    def changes(self) -> Path:
        """What was changed of the configuration since, one JSON object per change; see `runs.settings`."""
        return self.path / "changes.jsonl"

    @property
    def run_info(self) -> Path:
        """Name, notes, tags, parent run, versions. A folder is a run exactly when it has this file."""
        return self.path / "run.json"

    @property
    def process(self) -> Path:
        """Identity of the wrapper process: pid, start time, boot id, command line, host."""
        return self.path / "process.json"

    @property
    def start_lock(self) -> Path:
        """Held by whoever starts the run or takes the place of what watches over it."""
        return self.path / ".start.lock"

    @property
    def ranks(self) -> Path:
        """Folder of the training processes' own words that they live; see `runs.pulse`."""
        return self.path / "ranks"

    @property
    def status(self) -> Path:
        """State, phase and progress, replaced as a whole at every change."""
        return self.path / "status.json"

    @property
    def exit(self) -> Path:
        """How the run ended; written by the wrapper when the trainer is gone."""
        return self.path / "exit.json"

    @property
    def failure(self) -> Path:
        """What the trainer itself knows about why it failed: cause, sentence, next step."""
        return self.path / "failure.json"

    @property
    def model_paths(self) -> Path:
        """The JSON list of weights that the supervisor writes for the embedded model family."""
        return self.path / "model_paths.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per training step and per evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """One JSON object per thing that happened."""
        return self.path / "events.jsonl"

    @property
    def log(self) -> Path:
        """Everything the child processes print."""
        return self.path / "train.log"

    @property
    def control(self) -> Path:
        """Folder of the requests to the trainer, one JSON file each."""
        return self.path / "control"

    @property
    def control_ack(self) -> Path:
        """The trainer's receipts, one JSON object per line."""
        return self.path / "control_ack.jsonl"

    @property
    def samples(self) -> Path:
        """Folder of the rendered videos with the faces found in them."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Which evaluation is the best by rule, and why; missing while there is none."""
        return self.path / "best.json"

    @property
    def comparisons(self) -> Path:
        """Folder of the before/after reports."""
        return self.path / "comparisons"

    @property
    def exports(self) -> Path:
        """Folder of what was trained, as other tools load it."""
        return self.path / "exports"

    def exists(self) -> bool:
        """Whether this folder is a run."""
        return os.path.isfile(self.run_info)  # also of a name too long to be one

    @classmethod
    def create(cls, runs_dir: Path, name: str | None = None) -> RunFolder:
        """Make the folder of a new run with a fresh id, its subfolders and a first run.json {name, created}.

        The id is the UTC time to the millisecond and a short form of the name, so that ids sort by time.
        Raises RunsFolderError when runs_dir cannot be written.
        """
        runs_dir = ensure_runs_dir(runs_dir)
        try:
            path = _make_unique(runs_dir, slug(name or "run"))
            run = cls(path)
            for folder in (run.control, run.samples, run.checkpoints):
                folder.mkdir()
            write_json_atomic(run.run_info, {"name": name or path.name, "created": time.time()})
        except OSError as error:
            raise _unwritable(runs_dir, error) from error
        return run


def ensure_runs_dir(runs_dir: Path) -> Path:
    """Create runs_dir where it is missing, try that a file can be written there, and return its absolute path.

    Raises RunsFolderError.
    """
    runs_dir = Path(runs_dir).expanduser().absolute()
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs_dir):
            return runs_dir
    except OSError as error:
        raise _unwritable(runs_dir, error) from error


def slug(name: str, limit: int = 40) -> str:
    """A short form of a name for a folder: lower-case letters, digits and dashes; 'run' when nothing is left."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:limit].strip("-") or "run"


def _make_unique(runs_dir: Path, tail: str) -> Path:
    while True:
        now = datetime.now(UTC)
        stamp = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
        path = runs_dir / f"{stamp}-{tail}"
        # Another name in the same millisecond would sort by the name.
        if not any(runs_dir.glob(f"{stamp}-*")):
            with contextlib.suppress(FileExistsError):  # another process was quicker
                path.mkdir()
                return path
        time.sleep(0.001)


def _unwritable(runs_dir: Path, error: OSError) -> RunsFolderError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return RunsFolderError(
        f"The runs folder {runs_dir} cannot be written ({reason}): free it or choose another with --runs-dir."
    )
