"""What a measurement found: a table, and the marks it is held against."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rewardfl_app.bench import resident

# progress(what is measured now, how many are done, of how many)
Progress = Callable[[str, int, int], None]
Cell = float | int | str | None


@dataclass(frozen=True)
class Mark:
    """A number that is to be reached. `at_most`: the limit is an upper one."""

    what: str
    value: float
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass
class Report:
    """One table: what matters, as a ratio, in the first column."""

    bench: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """As it is written to JSON, with the machine, its load of the last minute and this process's peak of memory."""
        marks = [{**asdict(mark), "met": mark.met} for mark in self.marks]
        busy = {"processors": os.cpu_count(), "load": os.getloadavg()[0]}
        machine = {"system": platform.platform(), "processor": platform.machine(), **busy, **_torch()}
        return {**asdict(self), "marks": marks, "machine": machine, "peak_rss_mb": resident.peak_mb()}


def _torch() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"torch_threads": torch.get_num_threads(), "gpu": gpu}
