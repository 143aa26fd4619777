"""The memory plan as a table of text."""

from __future__ import annotations

from rewardfl_app.planning.memory_check import Verdict
from rewardfl_app.planning.phase import Part

_NAMED = 3  # of a phase's parts, the largest


def lines(verdict: Verdict) -> list[str]:
    """A line for each phase with its largest parts, and the verdict."""
    plan = verdict.plan
    frames, height, width = plan.size
    videos = "one video" if plan.videos == 1 else f"{plan.videos} videos"
    where = f"{plan.per_machine} processes a machine" if plan.per_machine > 1 else "one process"
    header = f"Memory for {videos} of {frames} frames of {height} x {width} at a time, {where} (GB):"
    columns = "each GPU  machine" if plan.on_gpu else "  machine"
    text = [header, f"  {'':26}{columns}  of it"]
    for phase in plan.phases:
        numbers = f"{phase.device_gb:8.2f} {phase.host_gb:8.2f}" if plan.on_gpu else f"{phase.host_gb:9.2f}"
        text.append(f"  {phase.name:26}{numbers}  {largest(phase.device if plan.on_gpu else phase.host)}")
    return [*text, verdict.sentence]


def largest(parts: list[Part]) -> str:
    """The largest parts of a phase with their GB."""
    named = sorted(parts, key=lambda part: -part.size)[:_NAMED]
    return ", ".join(f"{part.what} {part.size / 1e9:.2f}" for part in named)
