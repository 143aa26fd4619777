"""One open page: the run it looks at and what it has been sent, so that a tick sends only what is new."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import queue
from rewardfl_app.supervisor.face_jobs import JobList
from rewardfl_app.supervisor.preview import PreviewList
from rewardfl_app.ui import compare_page, faces_page, header, monitor_page, playground_page, runs_page, train_page
from rewardfl_app.ui.run_view import Changed, RunView

log = logging.getLogger(__name__)

# The components a tick may change, in the order of its outputs.
PARTS = ("header", "top", "curves", "sample", "activity", "faces", "compare", "runs", "playground", "train")


class Session:
    """State of one page on the server; it can be thrown away at any time and is built again from the run folder."""

    def __init__(self, runs_dir: Path, wanted: str | None = None) -> None:
        self._runs_dir = runs_dir
        self._runs = header.RunList(runs_dir)
        self._jobs = JobList(runs_dir)
        self._previews = PreviewList(runs_dir)
        self._wanted = wanted
        self._view: RunView | None = None
        self._sent: dict[str, Any] = {}
        self._notice = ""
        self._receipts = 0
        self._lock = threading.Lock()

    @property
    def run(self) -> RunFolder | None:
        """The run that is looked at."""
        return self._view.run if self._view else None

    def choose(self, run_id: str | None) -> None:
        """Look at another run from the next update on; an id that is no run is ignored."""
        with self._lock:
            self._wanted = run_id

    def say(self, notice: str) -> None:
        """Show a sentence on the Monitor page until the trainer has answered."""
        with self._lock:
            self._notice = notice
            self._receipts = self._view.num_receipts if self._view else 0

    def forget(self, part: str) -> None:
        """Send a part again at the next update: the page says that it has not got it."""
        with self._lock:
            self._sent.pop(part, None)

    def update(self) -> tuple[Any, ...]:
        """New values of PARTS, `gr.skip()` where nothing changed."""
        try:
            queue.advance(self._runs_dir, wait=False)
        except OSError:  # the next tick tries again; what is there can be shown all the same
            log.exception("the next run of the queue was not started")
        with self._lock:
            return tuple(self._news(name, make) for name, make in self._stale_parts().items())

    def _stale_parts(self) -> dict[str, Any]:
        """For each part its payload, or None when nothing it shows can have changed."""
        rows = self._runs.rows()
        chosen = header.choose(rows, self._wanted)
        if chosen != (self._view.run.id if self._view else None):
            run = next((run for run in list_runs(self._runs_dir) if run.id == chosen), None)
            self._view = RunView(run) if run else None
            self._notice = ""
        view = self._view
        changed = view.look() if view else Changed(*[not self._sent] * 5)
        state, metrics = changed.state, changed.metrics
        if view and state and view.num_receipts > self._receipts:
            self._notice = ""  # the trainer's own receipt says it better
        told = self._notice or (self._sent.get("top") or {}).get("notice")
        top = state or metrics or changed.samples or changed.events or told
        return {
            "header": header.payload(rows, view),
            "top": monitor_page.top_payload(view, self._notice) if top else None,
            "curves": monitor_page.charts_payload(view) if metrics or changed.events else None,
            "sample": monitor_page.sample_payload(view, self._runs_dir) if changed.samples else None,
            "activity": monitor_page.activity_payload(view) if changed.events or changed.log else None,
            "faces": faces_page.page_payload(view, self._jobs.jobs()),
            "compare": compare_page.page_payload(view, rows),
            "runs": runs_page.page_payload(self._runs_dir),
            "playground": playground_page.page_payload(self._previews, rows, self._runs_dir),
            "train": train_page.page_payload(rows),
        }

    def _news(self, name: str, value: Any) -> Any:
        if value is None or self._sent.get(name) == value:
            return gr.skip()
        self._sent[name] = value
        return value
