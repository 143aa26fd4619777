"""Operating-system processes: start one detached, find what is left of its session, and end it.

A process is told from others by `runs.identity`.
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

from rewardfl_app.config.plain_file import open_to_append
from rewardfl_app.runs import typed
from rewardfl_app.runs.identity import boot_id, describe, is_running, on_this_machine, pid_of, start_time, stat_fields

__all__ = [
    "boot_id",
    "describe",
    "end_session",
    "free_port",
    "is_running",
    "members",
    "on_this_machine",
    "send",
    "send_to_group",
    "start_detached",
    "start_time",
    "terminate_group",
    "watcher",
]

_PROC = Path("/proc")


def watcher(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of the process that took the place of a run's watch, in that run's record; {} when there is none."""
    return typed.mapping(record.get("watcher"))


def members(record: Mapping[str, Any]) -> list[int]:
    """Ids of the running processes of the recorded process's session (it is the session's leader), itself included.

    They outlive the leader when it is killed alone. Empty when the id now belongs to another program.
    """
    leader = pid_of(record)
    if leader is None or record.get("boot_id") != boot_id():
        return []
    if stat_fields(leader) is not None and start_time(leader) not in (None, record.get("start_time")):
        return []
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        fields = stat_fields(int(entry.name))
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


def terminate_group(group: int) -> None:
    """SIGTERM to every process of a group, and SIGCONT, without which one that is stopped never meets it."""
    send_to_group(group, signal.SIGTERM)
    send_to_group(group, signal.SIGCONT)


def end_session(record: Mapping[str, Any], grace_seconds: float, poll_seconds: float = 0.05) -> None:
    """End what is left of the recorded process's session: SIGTERM, then SIGKILL after grace_seconds."""
    send(members(record), signal.SIGTERM)
    send(members(record), signal.SIGCONT)  # one that is stopped never meets the other
    deadline = time.monotonic() + grace_seconds
    while (left := members(record)) and time.monotonic() < deadline:
        time.sleep(poll_seconds)
    send(left, signal.SIGKILL)


def start_detached(command: Sequence[str], log: Path, cwd: Path, env: Mapping[str, str] | None = None) -> int:
    """Start `command` in a session of its own, input from /dev/null, output appended to `log`; returns its process id.

    It outlives this process and its terminal. While this process lives, a thread collects its end, so that no zombie
    stays.
    """
    with open_to_append(log) as output:
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
