"""Where a run trains: how many processes, on which machines, and which devices of this one.

Read from the run folder without all that checks the settings, because the wrapper stays in memory as long as the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from rewardfl_app.config import plain_yaml
from rewardfl_app.config.devices import visible_gpus
from rewardfl_app.config.plain_file import read_plain
from rewardfl_app.config.plain_yaml import LARGEST_BYTES
from rewardfl_app.runs import changes
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor import hostfile

CPU = "cpu"


@dataclass(frozen=True)
class Placement:
    """Processes and where they run. `chosen`: the GPUs that were named, () for the first that are visible."""

    num_processes: int = 1
    hosts: Path | None = None
    chosen: tuple[str, ...] = ()
    shares: bool = False
    timeout_seconds: float = 1800.0

    @property
    def needs_launcher(self) -> bool:
        """Whether DeepSpeed's launcher starts the processes: several GPUs, or the machines of a hostfile."""
        return self.hosts is not None or (self.num_processes > 1 and bool(self.gpus))

    @property
    def gpus(self) -> tuple[str, ...]:
        """The GPUs of this machine it trains on, by the names CUDA_VISIBLE_DEVICES takes; () on a CPU."""
        if self.chosen:
            return self.chosen
        visible = visible_gpus()
        return visible[: self._num_here(len(visible))]

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of this machine it trains on: GPUs as "gpu NAME", or "cpu"."""
        return tuple(f"gpu {name}" for name in self.gpus) or (CPU,)

    def _num_here(self, visible: int) -> int:
        if self.hosts is None:
            return self.num_processes
        try:
            slots = hostfile.read(self.hosts)
        except hostfile.HostfileError:
            return visible
        return sum(count for host, count in slots.items() if hostfile.is_here({host: count}))


def of(run: RunFolder) -> Placement:
    """The placement of a run by its settings as they are now. Raises OSError, ValueError for a configuration that
    cannot be read."""
    stamps = tuple(_modified(path) for path in (run.config, run.changes))
    return _read(run, stamps)


def from_settings(deepspeed: Mapping[str, Any]) -> Placement:
    """The placement of the section `deepspeed`. Raises ValueError."""
    named = deepspeed.get("devices") or ()
    names = named.split(",") if isinstance(named, str) else [str(name) for name in named]
    hosts = deepspeed.get("hostfile")
    try:
        return Placement(
            num_processes=int(deepspeed["num_processes"]),
            hosts=Path(str(hosts)) if hosts else None,
            chosen=tuple(name.strip() for name in names if name.strip()),
            shares=bool(deepspeed.get("share_devices")),
            timeout_seconds=60.0 * float(deepspeed.get("timeout_minutes") or 30.0),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the section deepspeed cannot be read ({error!r})") from error


@lru_cache(maxsize=256)
def _read(run: RunFolder, stamps: tuple[int | None, ...]) -> Placement:
    """`stamps`: when the files were changed, so that a later look reads them again."""
    del stamps
    try:
        content, _ = plain_yaml.parse(read_plain(run.config, LARGEST_BYTES).decode("utf-8-sig"))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{run.config} is not YAML") from error
    deepspeed = content.get("deepspeed") if isinstance(content, dict) else None
    if not isinstance(deepspeed, dict):
        raise ValueError(f"{run.config} has no section deepspeed")
    now = dict(deepspeed)
    for change in changes.read(run):
        section, _, name = change.field.partition(".")
        if section == "deepspeed":
            now[name] = change.after
    return from_settings(now)


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
