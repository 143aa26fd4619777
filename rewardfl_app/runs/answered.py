"""Which requests to a trainer have a receipt. The trainer asks at every step and each page every second, so that the
receipts are read on from where the last look ended, however many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Set
from functools import lru_cache
from pathlib import Path

from rewardfl_app.runs import typed
from rewardfl_app.runs.jsonlines import JsonLinesReader

NUM_RUNS = 64  # followed at once


class Answered:
    """The receipts of one run, followed."""

    def __init__(self, path: Path) -> None:
        self._reader = JsonLinesReader(path)
        self._restarts = 0
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    def ids(self) -> Set[str]:
        """Ids of all requests with a receipt, as of now."""
        with self._lock:
            new = self._reader.read_new()
            if self._reader.restarts != self._restarts:
                self._restarts, self._ids = self._reader.restarts, set()
            self._ids.update(typed.text(receipt.get("id")) for receipt in new)
            return self._ids


@lru_cache(maxsize=NUM_RUNS)
def of(path: Path) -> Answered:
    """The one reader of a control_ack.jsonl in this process."""
    return Answered(path)
