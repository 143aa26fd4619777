"""events.jsonl: what happened in a run, one record {time, kind, message, ...} each."""

from __future__ import annotations

import time
from typing import Any

from rewardfl_app.runs import jsonlines
from rewardfl_app.runs.folder import RunFolder


def log_event(folder: RunFolder, kind: str, message: str, **fields: Any) -> None:
    """Append one event; `message` is a sentence for people, `kind` and `fields` are for programs."""
    jsonlines.append(folder.events, {"time": time.time(), "kind": kind, "message": message, **fields})


def read_events(folder: RunFolder) -> list[jsonlines.Record]:
    """All events, oldest first."""
    return jsonlines.read_all(folder.events)
