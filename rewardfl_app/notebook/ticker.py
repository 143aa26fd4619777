"""What keeps a widget up to date: a thread that looks at the run folder now and then.

A thread and not a task of the kernel's loop, which stands still while a cell waits for a run.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

log = logging.getLogger(__name__)

_all: weakref.WeakSet[Ticker] = weakref.WeakSet()


class Ticker:
    """Calls `look` every so often until it returns False (nothing more will come) or `stop`.

    It holds `lock` while it looks: who changes what `look` reads, as the click of a button does, holds it too.
    """

    def __init__(self, look: Callable[[], bool], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self.lock = threading.RLock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._complaint = ""
        _all.add(self)

    @property
    def is_running(self) -> bool:
        """Whether it will look again by itself."""
        return self._thread is not None and self._thread.is_alive()

    def look(self) -> bool:
        """Look now; whether more may come."""
        with self.lock:
            return self._look()

    def start(self) -> None:
        """Look again and again from now on; nothing happens where it does so already, or was stopped."""
        with self.lock:
            if self._stopped.is_set() or self.is_running:
                return
            self._thread = threading.Thread(target=self._run, name="rewardfl-ticker", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Never look again."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            with self.lock:
                if self._stopped.is_set() or not self._looked():
                    self._thread = None  # a start from now on begins another
                    return

    def _looked(self) -> bool:
        """One look that may fail, as on a disk that is away for a moment: said once, and tried again."""
        try:
            more = self._look()
            self._complaint = ""
            return more
        except Exception as error:
            if str(error) != self._complaint:
                self._complaint = str(error)
                log.exception("a widget could not look at its run")
            return True


def wake() -> None:
    """Every widget looks again: a run that had ended goes on."""
    for ticker in list(_all):
        ticker.start()
