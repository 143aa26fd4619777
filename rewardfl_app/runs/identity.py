"""Which process this is: its id, its start time and the boot id of the machine.

A process id alone is used again by other programs; the three together are never mistaken. Reads /proc, so Linux only.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardfl_app.runs import typed

_PROC = Path("/proc")
_STATE, _START_TIME, _EXIT_CODE = 0, 19, 49  # places in /proc/PID/stat, counted from the state on


def boot_id() -> str:
    """Id of this start of the machine; a restart changes it."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on (index 0 = state, 2 = group, 3 = session, 19 = start time), or None if
    gone.
    """
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The command name in parentheses may itself contain spaces and parentheses.
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot; None if there is none, or only a zombie that ended."""
    fields = stat_fields(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def describe(pid: int, command: Sequence[str], **extra: object) -> dict[str, Any]:
    """The record of a running process for process.json: {pid, start_time, boot_id, host, command, ...extra}."""
    return {
        "pid": pid,
        "start_time": start_time(pid),
        "boot_id": boot_id(),
        "host": socket.gethostname(),
        "command": list(command),
        **extra,
    }


def on_this_machine(record: Mapping[str, Any]) -> bool:
    """Whether the record was made where its process can be looked up from here."""
    return record.get("host") == socket.gethostname()


def pid_of(record: Mapping[str, Any]) -> int | None:
    """The id of the recorded process; None when the record has none that a process of ours can have."""
    pid = typed.whole(record.get("pid"))
    return pid if pid is not None and pid > 1 else None


def is_running(record: Mapping[str, Any]) -> bool:
    """Whether exactly the recorded process still runs on this machine."""
    started, pid = record.get("start_time"), pid_of(record)
    if started is None or pid is None or record.get("boot_id") != boot_id():
        return False
    return start_time(pid) == started


def started_at(record: Mapping[str, Any]) -> float | None:
    """When the recorded process of this start of the machine started, in Unix time to a hundredth of a second."""
    ticks = typed.whole(record.get("start_time"))
    if ticks is None or record.get("boot_id") != boot_id():
        return None
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def own(**extra: object) -> dict[str, Any]:
    """The record of this process, without its command."""
    return describe(os.getpid(), [], **extra)


def is_suspended(record: Mapping[str, Any]) -> bool:
    """Whether exactly the recorded process is there and stopped by a signal (SIGSTOP), so that it does nothing."""
    pid = pid_of(record) if is_running(record) else None
    fields = None if pid is None else stat_fields(pid)
    return fields is not None and fields[_STATE] in ("T", "t")


def exit_code(record: Mapping[str, Any]) -> int | None:
    """The return code, negative for a signal, of the recorded process while its end has not been collected."""
    pid = pid_of(record) if record.get("boot_id") == boot_id() else None
    fields = None if pid is None else stat_fields(pid)
    if fields is None or fields[_STATE] != "Z" or int(fields[_START_TIME]) != record.get("start_time"):
        return None
    return os.waitstatus_to_exitcode(int(fields[_EXIT_CODE]))
