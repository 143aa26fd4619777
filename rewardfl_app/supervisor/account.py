"""How a run ended, as its folder tells: what exit.json says, also where nobody was there to see the end."""

from __future__ import annotations

import os
from pathlib import Path

from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.status import read_status
from rewardfl_app.supervisor import exit_report, process
from rewardfl_app.supervisor.exit_report import ExitReport
from rewardfl_app.supervisor.rank_watch import LostRank

LOG_TAIL_BYTES = 32_768


def give(
    run: RunFolder,
    return_code: int | None = None,
    *,
    out_of_memory_kill: bool = False,
    ended_by_wrapper: bool = False,
    lost_rank: LostRank | None = None,
) -> ExitReport:
    """The account of the attempt that process.json names; see `exit_report.explain`. Its processes must be gone."""
    record = read_json(run.process) or {}
    status = read_status(run)
    return exit_report.explain(
        return_code,
        read_json(run.failure),
        log_tail(run.log, record.get("log_start")),
        final_state=status.state if status else None,
        step=status.step if status else None,
        total=status.total if status else None,
        phase=status.phase if status else None,
        stop_asked=stop_asked(run),
        out_of_memory_kill=out_of_memory_kill,
        ended_by_wrapper=ended_by_wrapper,
        lost_rank=lost_rank,
        restarted=bool(record) and record.get("boot_id") != process.boot_id(),
    )


def stop_asked(run: RunFolder) -> str | None:
    """The strongest stop that was asked for in this attempt, whether the trainer answered it or not."""
    before = str((read_json(run.process) or {}).get("last_request") or "")
    kinds = {request.kind for request in control.requests(run, after=before)}
    return next((kind for kind in ("stop_now", "stop_and_save") if kind in kinds), None)


def log_tail(path: Path, start: object = None) -> str:
    """The end of the log, at most LOG_TAIL_BYTES of what was written from byte `start` on."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            first = start if isinstance(start, int) and 0 <= start <= size else 0  # else it was begun anew since
            file.seek(max(first, size - LOG_TAIL_BYTES))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
