"""control/: requests to a running trainer, and control_ack.jsonl: its receipts.

The app writes one file per request; rank 0 of the trainer reads them at the step boundary, does what is asked, and
acknowledges.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rewardfl_app.runs import answered, jsonlines
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

Kind = Literal["stop_and_save", "stop_now", "save_now", "sample_now", "set_field"]
KINDS: tuple[str, ...] = get_args(Kind)
_ID = re.compile(r"\d{20}-[0-9a-f]{6}")


@dataclass(frozen=True)
class Request:
    """One request. Ids sort in the order of asking. `payload` of set_field: {field: section.field, value}."""

    id: str
    kind: Kind
    payload: dict[str, Any]


def request(folder: RunFolder, kind: Kind, **payload: Any) -> str:
    """Leave a request for the trainer and return its id, by which its receipt is found."""
    if kind not in KINDS:
        raise ValueError(f"unknown request {kind!r}: one of {', '.join(KINDS)}")
    folder.control.mkdir(exist_ok=True)
    request_id = f"{_next_moment(folder):020d}-{secrets.token_hex(3)}"
    write_json_atomic(
        folder.control / f"{request_id}.json",
        {"id": request_id, "kind": kind, "time": time.time(), "payload": payload},
    )
    return request_id


def pending(folder: RunFolder) -> list[Request]:
    """Requests without a receipt, oldest first. Files that are no request are passed over."""
    return _read(folder, _ids(folder, but=answered.of(folder.control_ack).ids()))


def requests(folder: RunFolder, after: str = "") -> list[Request]:
    """Requests, answered or not, that were made after the one with this id, oldest first."""
    return _read(folder, (known for known in _ids(folder) if known > after))


def newest(folder: RunFolder) -> str:
    """The id of the newest request, "" when there is none."""
    return max(_ids(folder), default="")


def acknowledge(folder: RunFolder, request_id: str, message: str, **fields: Any) -> None:
    """Write the receipt of a request: a sentence on what was done."""
    jsonlines.append(folder.control_ack, {"id": request_id, "time": time.time(), "message": message, **fields})


def receipts(folder: RunFolder) -> list[jsonlines.Record]:
    """All receipts {id, time, message}, oldest first."""
    return jsonlines.read_all(folder.control_ack)


def dismiss(folder: RunFolder, message: str) -> list[Request]:
    """Acknowledge everything pending without doing it.

    For the start of a trainer: a Stop that was meant for the process before must not stop the one that resumes.
    """
    dismissed = pending(folder)
    for left in dismissed:
        acknowledge(folder, left.id, message, dismissed=True)
    return dismissed


def _ids(folder: RunFolder, but: Set[str] = frozenset()) -> list[str]:
    """Ids of the requests but for these, oldest first."""
    try:
        names = os.listdir(folder.control)
    except OSError:
        return []
    ids = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(known for known in ids if known not in but and _ID.fullmatch(known))


def _read(folder: RunFolder, ids: Iterable[str]) -> list[Request]:
    found = []
    for known in ids:
        content = read_json(folder.control / f"{known}.json") or {}
        payload = content.get("payload")
        if content.get("kind") in KINDS:
            found.append(Request(known, content["kind"], payload if isinstance(payload, dict) else {}))
    return found


def _next_moment(folder: RunFolder) -> int:
    """Now in ns, or just after the newest request: the clock may have been set back since."""
    return max(time.time_ns(), int(newest(folder).partition("-")[0] or 0) + 1)
