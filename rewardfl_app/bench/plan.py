"""The memory plan beside what the phases of an update really take, each phase in the same process one after the other.

On a CPU a phase's peak is that of the resident memory, on a GPU that of its allocator.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from rewardfl_app.bench import case, resident
from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.bench.workload import Workload, connect_alone
from rewardfl_app.config.schema import Config
from rewardfl_app.planning import memory_plan
from rewardfl_app.planning.memory_plan import MemoryPlan
from rewardfl_app.planning.phase import GB
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.training import checkpointing
from rewardfl_app.training.checkpointing import Position
from rewardfl_app.training.ranks import Ranks
from rewardfl_app.training.weights import Weights

WITHIN = 0.15
_COLUMNS = ("planned / measured", "phase", "planned GB", "measured GB")
# What the trained step says it does, and the phase of the plan that this is.
_PHASES = {
    "sampling the steps before those that train": "sampling",
    "sampling": "sampling",
    "decoding and scoring the videos": "decoding and scoring",
    "the backward pass through the sampling steps": "backward through the steps",
    "updating the weights": "updating the weights",
}


def measure(config: Config, progress: Progress) -> Report:
    """Two updates in a fresh process, the second of which is measured. Raises CaseFailed."""
    progress("an update, phase by phase", 0, 1)
    found = case.phases(config)
    plan = memory_plan.plan(config, on_gpu=torch.cuda.is_available(), per_machine=1)
    return compared(plan, found)


def compared(plan: MemoryPlan, found: dict[str, float]) -> Report:
    """The table; `found`: measured GB by phase."""
    report = Report("plan", _COLUMNS)
    for phase in plan.phases:
        measured = found.get(phase.name)
        # The allocator knows nothing of what the driver holds beside it.
        held = phase.device[0].size / GB if plan.on_gpu else 0.0
        planned = phase.device_gb - held if plan.on_gpu else phase.host_gb
        report.rows.append([planned / measured if measured else None, phase.name, planned, measured])
        if measured:
            off = abs(planned / measured - 1)
            report.marks.append(Mark(f"{phase.name}: share that the plan is off by", off, WITHIN))
    report.notes.append("Phases without a measured figure are not part of an update.")
    return report


class _Watch:
    """Peaks in GB by phase; a phase lasts until the next begins."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self._phase: str | None = None

    def begin(self, phase: str | None) -> None:
        if self._phase is not None:
            self.found[self._phase] = max(self.found.get(self._phase, 0.0), _peak())
        self._phase = phase
        _start()


def watch(config: Config) -> dict[str, float]:
    """What the fresh process does: an update that warms up, then one whose phases are measured, then a checkpoint."""
    workload = Workload(config)
    connect_alone()
    weights = Weights(workload.adaptations, config)
    phases = _Watch()
    step = workload.step(weights.engine, config, lambda what: phases.begin(_PHASES.get(what)))
    rate = config.train.learning_rate
    step.update(workload.samples(config), 1, rate)
    phases.begin("loading")
    phases.begin(None)
    phases.found = {"loading": phases.found["loading"]}
    samples = workload.samples(config, 1)
    step.update(samples, 2, rate)
    phases.begin("saving")
    with tempfile.TemporaryDirectory(prefix="rewardfl-plan-") as folder:
        run = RunFolder(Path(folder))
        checkpointing.save(run, Position(step=2), weights, Ranks(), config)
    phases.begin(None)
    return phases.found


def _start() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        resident.start_peak()


def _peak() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GB
    return resident.peak_mb() * 2**20 / GB
