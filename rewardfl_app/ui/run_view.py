"""What one page session knows about the run it looks at: reads only what is new since the last look."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.config.plain_file import open_plain
from rewardfl_app.runs.checkpoints import Checkpoint, list_checkpoints
from rewardfl_app.runs.columns import Columns
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.jsonlines import JsonLinesReader, Record
from rewardfl_app.runs.sample_names import Names, SampleNames
from rewardfl_app.supervisor.supervisor import RunState, state
from rewardfl_app.ui import curve_store
from rewardfl_app.ui.headline import Headline, headline

LOG_BYTES = 16_000
LOG_LINES = 80
NUM_EVENTS = 60

# (modification time in ns, size) of a file or folder, None when it does not exist.
Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class Changed:
    """Which parts are new since the look before."""

    state: bool = False
    metrics: bool = False
    events: bool = False
    samples: bool = False
    log: bool = False

    @property
    def anything(self) -> bool:
        """Whether any part is new."""
        return self.state or self.metrics or self.events or self.samples or self.log


class RunView:
    """A run folder followed in time. Call `look`, then read the attributes."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.name: str = str((read_json(run.run_info) or {}).get("name") or run.id)
        self.state: RunState = state(run)
        self.curves = curve_store.shared().follow(run)
        self.checkpoints: list[Checkpoint] = []
        self.num_events = 0
        """How many events were read; `events` keeps the newest."""
        self.events: list[Record] = []
        self.log_tail: str = ""
        self.num_receipts = 0
        """How many receipts were read; `receipts` keeps the newest."""
        self.receipts: list[Record] = []
        self._headline: tuple[object, Headline] | None = None
        self._curves_version: tuple[str, int] | None = None
        self._events = JsonLinesReader(run.events)
        self._events_restarts = 0
        self._samples = SampleNames(run)
        self._log_stamp: Stamp = None
        self._receipts = JsonLinesReader(run.control_ack)
        self._receipts_restarts = 0
        self._checkpoint_stamp: Stamp = None
        self._info_stamp: Stamp = _stamp(run.run_info)
        self._first = True

    def look(self) -> Changed:
        """Read what was written since the last call. The first call reports every part as new."""
        changed = Changed(
            state=self._look_at_state(),
            metrics=self._look_at_metrics(),
            events=self._look_at_events(),
            samples=self._samples.look(),
            log=self._look_at_log(),
        )
        if self._first:
            self._first = False
            return Changed(True, True, True, True, True)
        return changed

    def _look_at_state(self) -> bool:
        received = self._look_at_receipts()
        # A checkpoint gets its final name as the last thing, which changes the time of the folder.
        stamp = _stamp(self.run.checkpoints)
        saved = stamp != self._checkpoint_stamp
        if saved:
            self._checkpoint_stamp = stamp
            self.checkpoints = list_checkpoints(self.run)
        stamp = _stamp(self.run.run_info)
        if stamp != self._info_stamp:
            self._info_stamp = stamp
            self.name = str((read_json(self.run.run_info) or {}).get("name") or self.run.id)
            saved = True
        before, self.state = self.state, state(self.run)
        return received or saved or before != self.state

    def _look_at_receipts(self) -> bool:
        new = self._receipts.read_new()
        restarted = self._receipts.restarts != self._receipts_restarts
        self._receipts_restarts = self._receipts.restarts
        if restarted:
            self.receipts, self.num_receipts = [], 0
        self.num_receipts += len(new)
        self.receipts = [*self.receipts, *new][-NUM_EVENTS:]
        return bool(new) or restarted

    def _look_at_metrics(self) -> bool:
        self.curves.read()  # another page may have done so before us
        version = self.curves.generation, self.curves.version
        changed = version != self._curves_version
        self._curves_version = version
        return changed

    def _look_at_events(self) -> bool:
        new = self._events.read_new()
        restarted = self._events.restarts != self._events_restarts
        self._events_restarts = self._events.restarts
        if restarted:
            self.events, self.num_events = [], 0
        self.num_events += len(new)
        self.events = [*self.events, *new][-NUM_EVENTS:]
        return bool(new) or restarted

    def _look_at_log(self) -> bool:
        stamp = _stamp(self.run.log)
        if stamp == self._log_stamp:
            return False
        self._log_stamp = stamp
        self.log_tail = tail(self.run.log)
        return True

    @property
    def samples(self) -> dict[int, Names]:
        """Names of the complete samples by step, steps ascending; 0 is the untrained model."""
        return self._samples.steps

    @property
    def references(self) -> Names:
        """Names of the complete real clips."""
        return self._samples.references

    @property
    def num_samples(self) -> int:
        """How many samples of the model are complete."""
        return self._samples.num_samples

    @property
    def columns(self) -> Columns:
        """What was measured so far."""
        return self.curves.columns

    @property
    def headline(self) -> Headline:
        """What changed by the newest evaluation."""
        evaluated = self.curves.evaluated
        if self._headline is None or self._headline[0] != evaluated:
            self._headline = evaluated, headline(self.columns.evaluations)
        return self._headline[1]

    @property
    def newest_step(self) -> int | None:
        """Step of the newest complete samples, 0 for the untrained model, None when there are none."""
        return max(self.samples) if self.samples else None


def tail(path: Path, num_bytes: int = LOG_BYTES, num_lines: int = LOG_LINES) -> str:
    """The last lines of a text file, "" when it does not exist; progress bars (carriage returns) at their last."""
    try:
        with open_plain(path, follow=False) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - num_bytes))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})."
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    if size > num_bytes:
        lines = lines[1:]  # cut in the middle
    return "\n".join(lines[-num_lines:]).strip("\n")


def newest_events(events: list[Record], limit: int = NUM_EVENTS) -> list[dict[str, Any]]:
    """The newest events first, as {time, kind, message}."""
    return [
        {"time": event.get("time"), "kind": str(event.get("kind", "")), "message": str(event.get("message", ""))}
        for event in reversed(events[-limit:])
    ]


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
