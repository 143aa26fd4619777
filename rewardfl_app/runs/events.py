"""events.jsonl: what happened in a run, one record {time, kind, message, ...} each."""

from __future__ import annotations

import time
from typing import Any

from rewardfl_app.config.secrets import redacted, redacted_in
from rewardfl_app.runs import jsonlines
from rewardfl_app.runs.folder import RunFolder


def log_event(folder: RunFolder, kind: str, message: str, **fields: Any) -> None:
    """Append one event, without secrets; `message` is a sentence for people, `kind` and `fields` are for programs."""
    told = {"kind": kind, "message": redacted(message), **redacted_in(fields)}
    jsonlines.append(folder.events, {"time": time.time(), **told})


def read_events(folder: RunFolder) -> list[jsonlines.Record]:
    """All events, oldest first."""
    return jsonlines.read_all(folder.events)
