"""What must not happen while a case runs: a hang, a write outside its folder, a new program, a loaded pickle."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from budget import LONGEST_SECONDS

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STILL = 4  # rings of the alarm, half a second apart, at the same line without any work: it waits for something
_SCHEDULED = Path("/proc/self/schedstat")
# Events of the interpreter with the positions of the paths that they change.
_CHANGES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
    "os.utime": (0,),
    "os.setxattr": (0,),
    "sqlite3.connect": (0,),
}
_FORBIDDEN = frozenset(
    "subprocess.Popen os.system os.exec os.posix_spawn os.fork os.forkpty os.kill os.killpg pickle.find_class "
    "marshal.loads marshal.load socket.connect urllib.Request ctypes.dlopen shutil.unpack_archive".split()
)


class Hang(BaseException):
    """A case took too long. No `except Exception` of the code under test may swallow it."""


class _Watch:
    """What the one audit hook of this process looks for; hooks cannot be taken away again."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen: list[str] = []
        self._installed = False
        self._inside = threading.local()

    def install(self) -> None:
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or getattr(self._inside, "busy", False):
            return
        self._inside.busy = True
        try:
            if event == "open":
                path, _, flags = arguments
                if isinstance(flags, int) and flags & _WRITING:
                    self._check(event, path)
            elif event in _CHANGES:
                for position in _CHANGES[event]:
                    self._check(event, arguments[position])
            elif event in _FORBIDDEN and not _is_import(event):
                self.seen.append(f"{event} {str(arguments)[:200]}")
        finally:
            self._inside.busy = False

    def _check(self, event: str, path: Any) -> None:
        if isinstance(path, int):  # a file that is open already
            return
        text = os.path.abspath(os.fsdecode(path))
        place = os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))
        if event == "open":  # opening follows the link, all the others change the link itself
            place = os.path.realpath(place)
        allowed = place == self.folder or place.startswith(f"{self.folder}{os.sep}") or place == os.devnull
        if not allowed and "__pycache__" not in place:
            self.seen.append(f"{event} {place}")


def _is_import(event: str) -> bool:
    """Python's own compiled modules are marshalled, and bring libraries."""
    if event not in ("marshal.loads", "ctypes.dlopen"):
        return False
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


_watch = _Watch()


def _waited_for_a_core() -> float:
    """Seconds in which this process could have run and others did: a busy machine is no fault of what is tested."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


@contextmanager
def guarded(folder: Path, seconds: float = LONGEST_SECONDS) -> Iterator[None]:
    """Run one case: it may write under `folder` alone and has so many seconds. In the main thread."""
    _watch.install()

    began, worked, waited = time.monotonic(), time.process_time(), _waited_for_a_core()
    still: list[object] = []

    def ring(number: int, frame: FrameType | None) -> None:
        taken = time.monotonic() - began - (_waited_for_a_core() - waited)
        work = time.process_time() - worked
        # A slow disk is no fault of what is tested either: what goes on, line by line, has four times as long.
        still.append((frame and (frame.f_code, frame.f_lineno), round(work, 1)))
        stuck = len(still) > _STILL and len(set(still[-_STILL:])) == 1
        if work > seconds or taken > 4 * seconds or (taken > seconds and stuck):
            where = "".join(traceback.format_stack(frame)[-8:])
            raise Hang(f"more than {seconds:g} s ({taken:.1f} s, {work:.1f} s of work) in\n{where}")

    before = signal.signal(signal.SIGALRM, ring)
    _watch.seen, _watch.folder = [], os.path.realpath(folder)
    signal.setitimer(signal.ITIMER_REAL, seconds + 0.1, 0.5)
    try:
        yield
    except Hang as hang:  # it was raised between two lines, where its own traceback has none
        raise Hang(*hang.args) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        _watch.folder = None
    assert not _watch.seen, f"outside of {folder}: {_watch.seen[:5]}"
