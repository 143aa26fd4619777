"""RUNS_DIR/.preview/: what the Playground was asked and what came of it, and the files of the worker that renders it.

results/ID/ is one request: request.json (written before the folder gets its name), status.json, picture.png (what the
video begins with), base/ and tuned/ (video.mp4, faces.json), side_by_side.mp4, and last of all result.json. Beside
them lie the worker's process.json, worker.json (its own account) and log.txt. A file `leave` asks the worker to end, a
file `cancel` in a result asks it to leave off that one.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rewardfl_app.runs import typed
from rewardfl_app.runs.change import number
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

FOLDER = ".preview"
FINISHED = frozenset({"done", "failed", "cancelled"})
SIDES = ("base", "tuned")
_ID = re.compile(r"\d{8}-\d{6}-\d{3}-[0-9a-f]{4}")
_NAMING = threading.Lock()
Value = TypeVar("Value", int, float)


@dataclass(frozen=True)
class PreviewFolder:
    """Paths of the Playground's folder. Making the object touches no file."""

    path: Path

    @classmethod
    def of(cls, runs_dir: Path) -> PreviewFolder:
        """The one inside a runs folder."""
        return cls(runs_dir.absolute() / FOLDER)

    @property
    def results(self) -> Path:
        """Folder of the requests and what came of them."""
        return self.path / "results"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures that were sent or drawn and may be asked for."""
        return self.path / "pictures"

    @property
    def models(self) -> Path:
        """Folder of the settings of the presets that can be rendered without a run."""
        return self.path / "models"

    @property
    def lock(self) -> Path:
        """Held while a worker is started or ended."""
        return self.path / ".lock"

    @property
    def process(self) -> Path:
        """Identity of the worker's process."""
        return self.path / "process.json"

    @property
    def worker(self) -> Path:
        """What the worker says of itself: {state, model, message}."""
        return self.path / "worker.json"

    @property
    def log(self) -> Path:
        """Everything the worker prints."""
        return self.path / "log.txt"

    @property
    def leave(self) -> Path:
        """Its presence asks the worker to end."""
        return self.path / "leave"


@dataclass(frozen=True)
class PreviewRequest:
    """What is to be rendered. `run` is the run folder whose settings and checkpoint are taken, or that of a preset.

    `checkpoint` is None for the base model alone. `about` is what the page wants remembered.
    """

    run: Path
    checkpoint: str | None
    prompt: str
    seed: int
    strength: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> PreviewRequest:
        """The request in the object of a request.json. Raises KeyError, TypeError, ValueError for a file by others."""
        checkpoint = content["checkpoint"]
        return cls(
            run=Path(content["run"]),
            checkpoint=None if checkpoint is None else str(checkpoint),
            prompt=str(content["prompt"]),
            seed=_known(typed.whole(content["seed"]), "seed"),
            strength=_known(number(content["strength"]), "strength"),
            about=typed.mapping(content.get("about")),
        )


@dataclass(frozen=True)
class Preview:
    """One request as it stands. `state` is waiting, working, done, failed or cancelled; `done` of `total` parts.

    `message` says what is being done, or why it failed; `warning` what should be known about the picture.
    """

    folder: Path
    request: PreviewRequest
    created: float
    state: str
    done: int = 0
    total: int | None = None
    message: str = ""
    warning: str = ""

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in FINISHED

    @property
    def picture(self) -> Path:
        """The picture the videos begin with."""
        return self.folder / "picture.png"

    @property
    def side_by_side(self) -> Path:
        """Base and tuned in one video."""
        return self.folder / "side_by_side.mp4"

    @property
    def is_cancelled(self) -> bool:
        """Whether it was asked to be left off."""
        return (self.folder / "cancel").exists()

    def video(self, side: str) -> Path:
        """The video of a side, "base" or "tuned"."""
        return self.folder / side / "video.mp4"

    def faces(self, side: str) -> Path:
        """The faces of a side's video."""
        return self.folder / side / "faces.json"

    def result(self) -> dict[str, Any]:
        """Content of result.json: {base, tuned: measures or None, step, fps, num_frames ...}; {} before it is done."""
        return read_json(self.folder / "result.json") or {}

    def say(self, state: str, message: str = "", done: int = 0, total: int | None = None, warning: str = "") -> None:
        """Write status.json. Raises OSError."""
        content = {"state": state, "message": message, "done": done, "total": total, "warning": warning}
        write_json_atomic(self.folder / "status.json", content)


def _known(value: Value | None, name: str) -> Value:
    if value is None:
        raise ValueError(f"{name} is no number")
    return value


def add(folder: PreviewFolder, request: PreviewRequest, picture: Path) -> Preview:
    """Put a request with a copy of its picture (PNG) in line. Raises OSError."""
    folder.results.mkdir(parents=True, exist_ok=True)
    name = _new_id()
    unnamed = folder.results / f".{name}"
    unnamed.mkdir()
    try:
        shutil.copyfile(picture, unnamed / "picture.png")
        content = {
            "created": time.time(),
            "run": request.run,
            "checkpoint": request.checkpoint,
            "prompt": request.prompt,
            "seed": request.seed,
            "strength": request.strength,
            "about": request.about,
        }
        write_json_atomic(unnamed / "request.json", content)
        Preview(unnamed, request, 0.0, "waiting").say("waiting")
        os.rename(unnamed, folder.results / name)
    except OSError:
        shutil.rmtree(unnamed, ignore_errors=True)
        raise
    made = look(folder.results / name)
    assert made is not None
    return made


def look(path: Path) -> Preview | None:
    """The request in this folder as its files tell; None when the folder is none."""
    content = read_json(path / "request.json")
    if content is None or not _ID.fullmatch(path.name):
        return None
    try:
        request = PreviewRequest.of(content)
    except (KeyError, TypeError, ValueError):
        return None
    status = read_json(path / "status.json") or {}
    done, total = status.get("done"), status.get("total")
    return Preview(
        folder=path,
        request=request,
        created=typed.seconds(content.get("created")) or 0.0,
        state=str(status.get("state") or "waiting"),
        done=typed.whole(done) or 0,
        total=typed.whole(total),
        message=str(status.get("message") or ""),
        warning=str(status.get("warning") or ""),
    )


def find(folder: PreviewFolder, name: str) -> Preview | None:
    """The request of this id, None when there is none."""
    return look(folder.results / name) if _ID.fullmatch(name) else None


def names(folder: PreviewFolder) -> list[str]:
    """The ids of all requests, oldest first."""
    try:
        return sorted(entry.name for entry in os.scandir(folder.results) if _ID.fullmatch(entry.name))
    except OSError:
        return []


def _new_id() -> str:
    """UTC time to the millisecond, so that ids sort by time, and four digits of chance."""
    with _NAMING:
        time.sleep(0.001)
        now = datetime.now(UTC)
        return f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}-{secrets.token_hex(2)}"
