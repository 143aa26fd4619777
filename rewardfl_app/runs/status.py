"""status.json: what the trainer is doing now, replaced as a whole at every change.

What is written here is the trainer's word. Whether its process still lives is the supervisor's to check.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

from rewardfl_app.runs import typed
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

State = Literal[
    "queued", "starting", "loading", "training", "evaluating", "saving", "stopping", "paused",
    "completed", "stopped", "failed", "lost",
]  # fmt: skip
STATES: tuple[str, ...] = get_args(State)
FINAL_STATES: frozenset[str] = frozenset({"completed", "stopped", "failed", "lost"})


@dataclass(frozen=True)
class Status:
    """One moment of a run.

    `heartbeat` is Unix time in seconds; `seconds_left` is an estimate, None when there is none; `alarm` is the sentence
    of the alarm that is on (see `runs.alarm`), None without one.
    """

    state: State
    phase: str = ""
    step: int = 0
    total: int = 0
    message: str = ""
    heartbeat: float = field(default_factory=time.time)
    seconds_left: float | None = None
    alarm: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether the run has ended, one way or another."""
        return self.state in FINAL_STATES


def write_status(folder: RunFolder, status: Status) -> None:
    """Replace status.json."""
    write_json_atomic(folder.status, asdict(status))


def read_status(folder: RunFolder) -> Status | None:
    """The last written status; None when there is none yet, or it is not readable as one."""
    record = read_json(folder.status)
    if record is None or record.get("state") not in STATES:
        return None
    return Status(
        state=record["state"],
        phase=typed.text(record.get("phase")),
        step=typed.whole(record.get("step")) or 0,
        total=typed.whole(record.get("total")) or 0,
        message=typed.text(record.get("message")),
        heartbeat=typed.seconds(record.get("heartbeat")) or 0.0,
        seconds_left=typed.seconds(record.get("seconds_left")),
        alarm=typed.text(record.get("alarm")) or None,
    )
