"""What is wrong or missing before a run is started, and the memory it will take."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardfl_app.api.starting import Source, to_mapping
from rewardfl_app.api.table import Table
from rewardfl_app.config.problems import Problem
from rewardfl_app.config.schema import Config
from rewardfl_app.planning import memory_text
from rewardfl_app.planning.memory_check import Verdict
from rewardfl_app.supervisor import memory_verdict, preflight


@dataclass(frozen=True)
class Checked:
    """`problems`: what keeps the run from starting, each with its field. `memory`: the plan held against a machine.

    `config` and `memory` are None where some setting is no value at all.
    """

    config: Config | None
    problems: list[Problem]
    memory: Verdict | None

    @property
    def fits(self) -> bool | None:
        """Whether the planned memory is there; None where it is not known."""
        return None if self.memory is None else self.memory.fits

    @property
    def missing(self) -> Table:
        """The problems as a table."""
        return Table({"setting": problem.field, "what to do": problem.message} for problem in self.problems)

    @property
    def phases(self) -> Table:
        """The planned memory of each phase, in GB (10^9 bytes), with the largest parts of it."""
        if self.memory is None:
            return Table()
        on_gpu = self.memory.plan.on_gpu
        return Table(
            {
                "phase": phase.name,
                **({"each GPU, GB": phase.device_gb} if on_gpu else {}),
                "machine, GB": phase.host_gb,
                "most of it": memory_text.largest(phase.device if on_gpu else phase.host),
            }
            for phase in self.memory.plan.phases
        )

    def __repr__(self) -> str:
        return f"Checked({len(self.problems)} problems, fits={self.fits})"

    def _repr_html_(self) -> str:
        told = "no problem found" if not self.problems else self.missing._repr_html_()
        memory = "" if self.memory is None else f"<b>{html.escape(self.memory.sentence)}</b>"
        return f"<div>{told}{memory}{self.phases._repr_html_() if self.memory else ''}</div>"


def check(
    source: Source = "pocket",
    changes: Mapping[str, Any] | None = None,
    *,
    device_gb: float | None = None,
    host_gb: float | None = None,
) -> Checked:
    """Everything that can be seen to be wrong, without loading a weight, and the memory plan. Arguments as of
    `configure`.

    `device_gb`, `host_gb`: memory of each GPU and of each machine to plan for (None: this machine's). Raises
    ConfigError where there is no such preset or file.
    """
    config, problems = preflight.examined(to_mapping(source, changes))
    memory = None if config is None else memory_verdict.verdict(config, device_gb, host_gb)
    return Checked(config, problems, memory)
