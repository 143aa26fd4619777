"""The process behind the Playground: takes requests from RUNS_DIR/.preview one after another, with the model loaded.

It ends by itself after some idle minutes, and when it is asked to (a file `leave`, or SIGTERM): training needs the
device. It also ends after it has run out of memory, since only a fresh process has all of it.
"""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path

import torch

from rewardfl_app.config.problems import ConfigError
from rewardfl_app.data.errors import DataError
from rewardfl_app.inference.preview_render import PreviewRenderer
from rewardfl_app.models.sources import WeightsError
from rewardfl_app.rewards.pack import PackError
from rewardfl_app.runs import previews
from rewardfl_app.runs.folder import RunError
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.previews import Preview, PreviewFolder

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2


class _Leave(BaseException):
    """The worker is to end now; what it works on waits again."""


class _Cancelled(BaseException):
    """What is being rendered is not wanted any more."""


class PreviewWorker:
    """Serves the requests of a folder until it is asked to leave or nothing came for `idle_seconds`."""

    def __init__(self, folder: PreviewFolder, idle_seconds: float, device: torch.device | None = None) -> None:
        self._folder = folder
        self._idle_seconds = idle_seconds
        self._renderer = PreviewRenderer(folder, device or torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self._asked_to_leave = False
        self._told = ""

    def leave(self, number: int = signal.SIGTERM, frame: object = None) -> None:
        """End at the next opportunity; fit for a signal handler."""
        del number, frame
        self._asked_to_leave = True

    def serve(self) -> None:
        """Work until the end, and say so at last. Raises OSError when the folder cannot be written."""
        quiet_since = time.monotonic()
        try:
            while not self._leaving():
                preview = self._next()
                if preview is None:
                    self._say("ready")
                    if time.monotonic() - quiet_since >= self._idle_seconds:
                        break
                    time.sleep(POLL_SECONDS)
                    continue
                if not self._serve(preview):
                    break
                quiet_since = time.monotonic()
        finally:
            self._say("ended")

    def _next(self) -> Preview | None:
        """The oldest request that waits; those that were left off are closed on the way."""
        for name in previews.names(self._folder):
            preview = previews.look(self._folder.results / name)
            if preview is None or preview.is_finished:
                continue
            if not preview.is_cancelled:
                return preview
            preview.say("cancelled")
        return None

    def _serve(self, preview: Preview) -> bool:
        """One request to its end, whatever that is; returns whether this process is good for another."""
        progress = _Progress(preview)

        def tell(message: str, parts: int) -> None:
            if self._leaving():
                raise _Leave
            if preview.is_cancelled:
                raise _Cancelled
            self._say("loading" if message.startswith("Loading") else "working")
            progress.advance(message, parts)

        try:
            self._renderer.render(preview, progress.begin, tell)
        except _Leave:
            preview.say("waiting")
            return False
        except _Cancelled:
            preview.say("cancelled")
        except (ConfigError, RunError, WeightsError, PackError, DataError) as error:
            progress.fail(" ".join(str(error).split()))
        except (torch.OutOfMemoryError, MemoryError) as error:
            logger.error("out of memory", exc_info=error)
            progress.fail(_no_memory(error))
            return False
        except Exception as error:
            if _says_no_memory(error):
                progress.fail(_no_memory(error))
                return False
            logger.exception("preview %s failed", preview.id)
            first = " ".join(str(error).split())
            progress.fail(f"{type(error).__name__}: {first} (log: {self._folder.log})")
            self._renderer.drop()  # whatever state it is in now
        else:
            progress.end()
        return True

    def _leaving(self) -> bool:
        return self._asked_to_leave or self._folder.leave.exists()

    def _say(self, state: str) -> None:
        told = f"{state} {self._renderer.holds}"
        if told != self._told:
            self._told = told
            model = "" if state == "ended" else self._renderer.holds
            write_json_atomic(self._folder.worker, {"state": state, "model": model, "time": time.time()})


class _Progress:
    """status.json of the request that is worked on."""

    def __init__(self, preview: Preview) -> None:
        self._preview = preview
        self._done, self._total, self._warning = 0, None, ""

    _total: int | None

    def begin(self, total: int, warning: str) -> None:
        self._total, self._warning = total, warning

    def advance(self, message: str, parts: int) -> None:
        self._done += parts
        self._preview.say("working", message, self._done, self._total, self._warning)

    def fail(self, message: str) -> None:
        logger.error("preview %s: %s", self._preview.id, message)
        self._preview.say("failed", message, self._done, self._total, self._warning)

    def end(self) -> None:
        self._preview.say("done", "", self._done, self._done, self._warning)


def _says_no_memory(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _no_memory(error: BaseException) -> str:
    what = "GPU’s memory" if isinstance(error, torch.OutOfMemoryError) else "memory of this machine"
    return (
        f"The {what} was not enough for this video: take settings with smaller data.max_pixels or fewer "
        "data.num_frames, or free memory, and ask again."
    )


def serve(folder: Path, idle_minutes: float) -> None:
    """Serve a .preview folder in this process, which SIGTERM ends gently."""
    worker = PreviewWorker(PreviewFolder(folder.absolute()), 60 * idle_minutes)
    signal.signal(signal.SIGTERM, worker.leave)
    worker.serve()
