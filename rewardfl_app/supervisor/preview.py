"""The worker behind the Playground: one detached child that keeps the model loaded between requests.

Requests lie in RUNS_DIR/.preview (see `runs.previews`). The device belongs to training: no worker is started while a
run goes on, and `give_back` ends the worker before a trainer is started; what it was working on waits again.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rewardfl_app.config import files, presets
from rewardfl_app.runs import file_lock, previews
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.previews import Preview, PreviewFolder, PreviewRequest
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import freeze, process
from rewardfl_app.supervisor.child_log import last_words
from rewardfl_app.supervisor.command import PACKAGE_ROOT, inference_command, package_environment

KEPT = 100
MOST_WAITING = 8
IDLE_MINUTES = 10
WORKER_VARIABLE = "REWARDFL_PREVIEWER"
_GRACE_SECONDS = 2.0


class PreviewError(RunError):
    """A preview cannot be asked for; the message is one sentence."""


@dataclass(frozen=True)
class WorkerState:
    """The worker as its account and its process tell: off, starting, loading, ready or working.

    `model` is what it holds in memory, in words.
    """

    state: str
    model: str = ""

    @property
    def is_on(self) -> bool:
        """Whether there is one, which holds memory."""
        return self.state != "off"


def ask(runs_dir: Path, request: PreviewRequest, picture: Path) -> Preview:
    """Put a request in line with a copy of its picture (PNG), and start a worker unless training has the device.

    Raises PreviewError when too many wait already or the folder cannot be written.
    """
    folder = PreviewFolder.of(runs_dir)
    try:
        with _locked(folder):
            waiting = sum(not preview.is_finished for preview in jobs(runs_dir))
            if waiting >= MOST_WAITING:
                raise PreviewError(f"{waiting} videos are waiting already: wait for one of them, or cancel it.")
            _prune(folder)
            made = previews.add(folder, request, picture)
        advance(runs_dir)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PreviewError(f"Nothing can be written to {folder.path} ({reason}): free space there.") from error
    return made


def jobs(runs_dir: Path) -> list[Preview]:
    """Every request, newest first, as its files and the worker's process tell."""
    folder = PreviewFolder.of(runs_dir)
    alive = _is_alive(folder)
    found = (previews.look(folder.results / name) for name in reversed(previews.names(folder)))
    return [_checked(preview, folder, alive) for preview in found if preview is not None]


def find(runs_dir: Path, name: str) -> Preview | None:
    """The request of this id, None when there is none."""
    folder = PreviewFolder.of(runs_dir)
    preview = previews.find(folder, name)
    return None if preview is None else _checked(preview, folder, _is_alive(folder))


def cancel(runs_dir: Path, preview: Preview) -> None:
    """Leave a request off: at once when it waits, at the worker's next denoising step when it is being rendered.

    Raises OSError.
    """
    if preview.is_finished:
        return
    (preview.folder / "cancel").touch()
    if not _is_alive(PreviewFolder.of(runs_dir)):
        preview.say("cancelled")


def delete(preview: Preview) -> None:
    """Remove a finished request with its videos; others are left alone. Raises OSError."""
    if preview.is_finished:
        gone = preview.folder.with_name(f".{preview.id}.gone")
        os.rename(preview.folder, gone)  # out of sight first, so that nobody finds half of it
        shutil.rmtree(gone, ignore_errors=True)


def state(runs_dir: Path) -> WorkerState:
    """What the worker is doing."""
    folder = PreviewFolder.of(runs_dir)
    if not _is_alive(folder):
        return WorkerState("off")
    told = read_json(folder.worker) or {}
    word = str(told.get("state") or "starting")
    if word == "ended":  # it is on its way out, and holds nothing any more
        return WorkerState("off")
    return WorkerState(word if word in ("loading", "ready", "working") else "starting", str(told.get("model") or ""))


def training(runs_dir: Path) -> RunFolder | None:
    """A run whose processes live on this machine, and which therefore has the device; None when there is none."""
    for run in list_runs(runs_dir):
        record = None if run.exit.exists() else read_json(run.process)
        if record is None or not process.on_this_machine(record):
            continue
        if process.is_running(record) or (record.get("role") == "wrapper" and process.members(record)):
            return run
    return None


def advance(runs_dir: Path) -> None:
    """Start a worker if something waits and nobody has the device; tell what became of one that died.

    Any process may call it, as often as it likes. Raises OSError.
    """
    folder = PreviewFolder.of(runs_dir)
    if _is_alive(folder) or not any(not preview.is_finished for preview in _raw(folder)):
        return
    with _locked(folder):
        if _is_alive(folder):
            return
        _account_for(folder)
        if any(preview.state == "waiting" for preview in _raw(folder)) and training(runs_dir) is None:
            _start(folder)


def give_back(runs_dir: Path, wait: float = 10.0) -> None:
    """End the worker, if there is one, so that the device is free; what it was working on waits again.

    It is asked, waited for `wait` seconds, and then its processes are killed.
    """
    folder = PreviewFolder.of(runs_dir)
    if not folder.process.exists():
        return
    with _locked(folder):
        record = read_json(folder.process)
        if record is None or not process.on_this_machine(record):
            return
        with contextlib.suppress(OSError):  # a full disk: it is ended all the same
            folder.leave.touch()
        deadline = time.monotonic() + wait
        while process.is_running(record) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.end_session(record, _GRACE_SECONDS)
        for preview in _raw(folder):
            if preview.state == "working":
                with contextlib.suppress(OSError):
                    preview.say("waiting")
        for path in (folder.process, folder.worker, folder.leave):
            path.unlink(missing_ok=True)


def preset_folder(runs_dir: Path, name: str) -> RunFolder:
    """A folder with the complete settings of a preset that needs no file of one's own, to be rendered without a run.

    Raises ConfigError for a preset that there is not, OSError.
    """
    run = RunFolder(PreviewFolder.of(runs_dir).models / name)
    config = freeze.with_embedded_scorers(presets.preset(name))
    run.path.mkdir(parents=True, exist_ok=True)
    files.dump(freeze.with_embedded_models(config, run), run.config)
    return run


class PreviewList:
    """The requests for a page that asks every second: those that are finished are read once."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._folder = PreviewFolder.of(runs_dir)
        self._listed: int | None = None
        self._names: list[str] = []
        self._finished: dict[str, Preview] = {}

    def jobs(self) -> list[Preview]:
        """Every request, newest first."""
        self._look_for_new()
        unfinished = [name for name in self._names if name not in self._finished]
        alive = _is_alive(self._folder) if unfinished else False
        found: dict[str, Preview] = {}
        for name in unfinished:
            preview = previews.look(self._folder.results / name)
            if preview is None:
                continue
            found[name] = _checked(preview, self._folder, alive)
            if found[name].is_finished:
                self._finished[name] = found[name]
        known = {**found, **self._finished}
        return [known[name] for name in reversed(self._names) if name in known]

    def _look_for_new(self) -> None:
        try:
            changed = self._folder.results.stat().st_mtime_ns
        except OSError:
            self._names, self._listed = [], None
            return
        # A name that came within the clock's tick of the last look may have been missed: look once more then.
        if changed == self._listed and time.time_ns() - changed > 1_000_000_000:
            return
        self._listed, self._names = changed, previews.names(self._folder)
        self._finished = {name: self._finished[name] for name in self._names if name in self._finished}


def _raw(folder: PreviewFolder) -> Iterator[Preview]:
    """Oldest first, as the files say."""
    for name in previews.names(folder):
        if (preview := previews.look(folder.results / name)) is not None:
            yield preview


def _checked(preview: Preview, folder: PreviewFolder, alive: bool) -> Preview:
    """The request as it really stands: a dead worker works on nothing, and what is left off waits no more."""
    if preview.is_finished:
        return preview
    if preview.is_cancelled:
        if preview.state == "waiting" or not alive:
            return replace(preview, state="cancelled", message="")
        return replace(preview, message="Leaving off")
    if preview.state == "working" and not alive:
        preview = previews.look(preview.folder) or preview  # it may have finished since
        if preview.state == "working" and (read_json(folder.process) or {}):
            return replace(preview, state="failed", message=last_words(folder.log, "preview worker"))
    return preview


def _account_for(folder: PreviewFolder) -> None:
    """Note what a dead worker left undone as failed, so that it is not tried for ever."""
    record = read_json(folder.process)
    if record is None:
        return
    unfinished = [preview for preview in _raw(folder) if not preview.is_finished]
    for preview in unfinished:
        if preview.is_cancelled:
            preview.say("cancelled")
    left = [preview for preview in unfinished if not preview.is_cancelled]
    fallen = [preview for preview in left if preview.state == "working"]
    if not fallen and (read_json(folder.worker) or {}).get("state") != "ended":
        fallen = left[:1]  # it died before it had taken a request, and would do so again
    for preview in fallen:
        preview.say("failed", last_words(folder.log, "preview worker"), warning=preview.warning)
    folder.process.unlink(missing_ok=True)
    folder.worker.unlink(missing_ok=True)


def _start(folder: PreviewFolder) -> None:
    for path in (folder.log, folder.leave, folder.worker):
        path.unlink(missing_ok=True)
    command = _command(folder)
    pid = process.start_detached(command, folder.log, PACKAGE_ROOT, package_environment())
    write_json_atomic(folder.process, process.describe(pid, command, role="previewer", started=time.time()))


def _command(folder: PreviewFolder) -> Sequence[str]:
    """The child; REWARDFL_PREVIEWER holds another command to run instead, as REWARDFL_TRAINER does for training."""
    stand_in = os.environ.get(WORKER_VARIABLE)
    if stand_in:
        return [*shlex.split(stand_in), str(folder.path)]
    return inference_command("preview", str(folder.path), "--idle-minutes", str(IDLE_MINUTES))


def _is_alive(folder: PreviewFolder) -> bool:
    record: Mapping[str, Any] | None = read_json(folder.process)
    # One of another machine cannot be looked at from here; it is taken for alive, so that no second one joins it.
    return record is not None and (not process.on_this_machine(record) or process.is_running(record))


def _prune(folder: PreviewFolder) -> None:
    """Remove the oldest finished requests so that with a new one KEPT stay."""
    finished = [preview for preview in _raw(folder) if preview.is_finished]
    for preview in finished[: max(0, len(finished) - KEPT + 1)]:
        delete(preview)


@contextlib.contextmanager
def _locked(folder: PreviewFolder) -> Iterator[None]:
    """One process at a time starts or ends the worker."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with file_lock.held(folder.lock):
        yield
