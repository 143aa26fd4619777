"""One of the two memories of a plan: that of each device, or the machine's own."""

from __future__ import annotations

from dataclasses import dataclass

from rewardfl_app.planning.machine import Machine
from rewardfl_app.planning.memory_plan import MemoryPlan
from rewardfl_app.planning.phase import GB, Part, Phase

_LOADING = "loading"  # from this phase on, what it took stays


@dataclass(frozen=True)
class Side:
    """What the phases take of one memory and what there is of it, in GB; `total` and `usable` None: not known."""

    plan: MemoryPlan
    machine: Machine
    of_device: bool

    @property
    def total(self) -> float | None:
        return self.machine.device if self.of_device else self.machine.host

    @property
    def usable(self) -> float | None:
        return self.machine.usable_device if self.of_device else self.machine.usable_host

    @property
    def peak(self) -> Phase:
        return self.plan.device_peak if self.of_device else self.plan.host_peak

    @property
    def most(self) -> float:
        return self.of(self.peak)

    @property
    def is_short(self) -> bool:
        return self.usable is not None and self.most > self.usable

    def of(self, phase: Phase) -> float:
        """All that a phase takes."""
        return phase.device_gb if self.of_device else phase.host_gb

    def parts(self, phase: Phase) -> list[Part]:
        """What a phase takes, part by part."""
        return phase.device if self.of_device else phase.host

    def stays(self, part: Part) -> bool:
        """Whether a part is there from loading on."""
        loading = next(phase for phase in self.plan.phases if phase.name == _LOADING)
        return part.what in {other.what for other in self.parts(loading)}

    def kept(self, phase: Phase) -> float:
        """What of a phase is there from loading on."""
        return sum(part.size for part in self.parts(phase) if self.stays(part)) / GB
