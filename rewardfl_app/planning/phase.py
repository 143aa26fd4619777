"""A phase of a run, and what its memory is for. GB are 10^9 bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

GB = 1e9


@dataclass(frozen=True)
class Part:
    """What some memory is for, in bytes."""

    what: str
    size: float


@dataclass
class Phase:
    """A phase of a run with its parts on one device and on one machine."""

    name: str
    device: list[Part] = field(default_factory=list)
    host: list[Part] = field(default_factory=list)

    @property
    def device_gb(self) -> float:
        """On each device; where there is none, on the host."""
        return sum(part.size for part in self.device) / GB

    @property
    def host_gb(self) -> float:
        """On each machine, of all its processes."""
        return sum(part.size for part in self.host) / GB
