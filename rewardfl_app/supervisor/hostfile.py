"""The machines a run trains on: one `host slots=N` per line, as DeepSpeed's launcher reads them."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from rewardfl_app.config.plain_file import read_plain

_MOST_BYTES = 2**20
# DeepSpeed's own pattern; what follows the number is ignored there, too.
_LINE = re.compile(r"(\S+)\s+slots=(\d+)")


class HostfileError(ValueError):
    """A hostfile that the launcher would refuse; the message names the line."""


def read(path: Path) -> dict[str, int]:
    """Processes by host, in the file's order. Raises HostfileError."""
    try:
        lines = read_plain(path, _MOST_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HostfileError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or 'it is not text'}): name the machines there, "
            "one `host slots=N` per line."
        ) from error
    hosts: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.match(text)
        if match is None or int(match[2]) < 1:
            raise HostfileError(f"{path}: line {number} is not `host slots=N` with N of 1 or more: write it so.")
        if match[1] in hosts:
            raise HostfileError(f"{path}: line {number} names {match[1]} again: give all its slots in one line.")
        hosts[match[1]] = int(match[2])
    if not hosts:
        raise HostfileError(f"{path} names no machine: write `host slots=N`, one per line.")
    return hosts


def is_here(hosts: dict[str, int]) -> bool:
    """Whether all processes run on this machine."""
    return set(hosts) <= {"localhost", "127.0.0.1", socket.gethostname()}
