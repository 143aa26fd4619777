"""How much memory there is: of the GPUs and of the machine itself, without loading a library for it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# An allocator never gives out all of a device, and a machine has more to do than a run.
_USABLE_DEVICE, _USABLE_HOST = 0.94, 0.90
_MEMINFO = Path("/proc/meminfo")
_MIB = 2**20


@dataclass(frozen=True)
class Machine:
    """GB (10^9 bytes) of one device and of the host. `device` None: there is no GPU. `host` None: not known.

    `assumed`: the device is not here, its size was given.
    """

    device: float | None
    host: float | None
    assumed: bool = False

    @property
    def usable_device(self) -> float | None:
        """What a plan may take of a device."""
        return None if self.device is None else self.device * _USABLE_DEVICE

    @property
    def usable_host(self) -> float | None:
        """What a plan may take of the host."""
        return None if self.host is None else self.host * _USABLE_HOST


def here() -> Machine:
    """This machine, by its smallest GPU."""
    return Machine(_smallest_gpu(), _host())


def _smallest_gpu() -> float | None:
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10, check=True)
        sizes = [float(line) * _MIB / 1e9 for line in told.stdout.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return min(sizes, default=None)


def _host() -> float | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("MemTotal:"))
    except (OSError, ValueError, StopIteration, IndexError):
        return None
