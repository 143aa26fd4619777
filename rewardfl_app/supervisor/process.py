"""Operating-system processes: start one detached, tell whether it is still the same one, and end a whole group.

A process is identified by its id, its start time and the boot id of the machine, so that a process id that is used
again by another program is never mistaken for the run. Reads /proc, so Linux only.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PROC = Path("/proc")


def boot_id() -> str:
    """Id of this start of the machine; a restart changes it."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _stat_fields(pid: int) -> list[str] | None:
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
    fields = _stat_fields(pid)
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


def is_running(record: Mapping[str, Any]) -> bool:
    """Whether exactly the recorded process still runs on this machine."""
    started = record.get("start_time")
    return started is not None and record.get("boot_id") == boot_id() and start_time(int(record["pid"])) == started


def members(record: Mapping[str, Any]) -> list[int]:
    """Ids of the running processes of the recorded process's session (it is the session's leader), itself included.

    They outlive the leader when it is killed alone. Empty when the id now belongs to another program.
    """
    if record.get("boot_id") != boot_id():
        return []
    leader = int(record["pid"])
    if _stat_fields(leader) is not None and start_time(leader) not in (None, record.get("start_time")):
        return []
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        fields = _stat_fields(int(entry.name))
        if fields is not None and fields[0] not in ("Z", "X") and int(fields[3]) == leader:
            found.append(int(entry.name))
    return found


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to each process; those that are gone already are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def send_to_group(group: int, number: signal.Signals) -> None:
    """Send a signal to every process of a process group; a group that is gone already is passed over."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def end_session(record: Mapping[str, Any], grace_seconds: float, poll_seconds: float = 0.05) -> None:
    """End what is left of the recorded process's session: SIGTERM, then SIGKILL after grace_seconds."""
    send(members(record), signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while (left := members(record)) and time.monotonic() < deadline:
        time.sleep(poll_seconds)
    send(left, signal.SIGKILL)


def start_detached(command: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str] | None = None) -> int:
    """Start `command` in a session of its own, input from /dev/null, output appended to `log`; returns its process id.

    It outlives this process and its terminal. While this process lives, a thread collects its end, so that no zombie
    stays.
    """
    with open(log, "ab") as output:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else dict(env),
            start_new_session=True,
            close_fds=True,
        )
    threading.Thread(target=child.wait, name=f"collect-{child.pid}", daemon=True).start()
    return child.pid


def free_port() -> int:
    """A TCP port on 127.0.0.1 that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
