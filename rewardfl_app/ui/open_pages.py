"""The sessions of the open pages. One that was closed is forgotten at once; Gradio would keep it for an hour."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from rewardfl_app.ui.session import Session

MOST = 64  # a page more, and the one that asked longest ago is sent everything again when it asks next


class OpenPages:
    """Sessions by the id that Gradio gives each open page."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, page: str | None, wanted: str | None = None) -> Session:
        """A new session for a page that was opened, or that was open when the app was started again."""
        session = Session(self._runs_dir, wanted)
        if page is not None:
            with self._lock:
                self._sessions[page] = session
                self._sessions.move_to_end(page)
                while len(self._sessions) > MOST:
                    self._sessions.popitem(last=False)
        return session

    def find(self, page: str | None) -> Session | None:
        """The session of a page; None when it is not known."""
        with self._lock:
            session = self._sessions.get(page or "")
            if session is not None and page is not None:
                self._sessions.move_to_end(page)
            return session

    def close(self, page: str | None) -> None:
        """Forget the session of a page that is gone."""
        with self._lock:
            self._sessions.pop(page or "", None)

    def __len__(self) -> int:
        return len(self._sessions)
