"""Seconds and memory of one update beside the straightforward implementation."""

from __future__ import annotations

from functools import partial
from statistics import median

from rewardfl_app.bench import case, team, timing
from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.bench.team import Team
from rewardfl_app.bench.workload import Workload, changed, in_one_process
from rewardfl_app.config.schema import Config

REPEATS = 5
_PROCESSES = 3  # what the allocator leaves unused differs by a quarter from one process to the next
_FASTER, _SMALLER = 6.0, 0.5
_COLUMNS = ("x plain", "what", "engine", "plain", "unit")
_ENGINE, _PLAIN, _PLAIN_TOO = "the engine", "plain, one process", "plain, in the engine's processes"


def measure(config: Config, progress: Progress) -> Report:
    """Medians of a few updates that alternate, and the memory of the first in processes that did nothing before (of the
    plain implementation the median of three).

    The engine works as the configuration says, in as many processes; the plain implementation is one process, which
    has the machine to itself while the engine's wait. Raises CaseFailed.
    """
    processes = config.deepspeed.num_processes
    # Under ZeRO the plain implementation would not own the weights.
    whole = {"context_parallel": 1, "zero_stage": 0, "offload_optimizer": False, "offload_parameters": False}
    videos = config.train.per_device_train_batch_size * processes
    engine = changed(config, deepspeed=whole, train={"gradient_accumulation_steps": 1, "train_batch_size": videos})
    plain = in_one_process(engine)
    memories = []
    for turn in range(_PROCESSES):
        progress("memory of the plain implementation", turn, _PROCESSES + 2)
        memories.append(case.measure(plain, "update", case.PLAIN))
    memory = sorted(memories, key=lambda measured: measured.added)[_PROCESSES // 2]
    progress("loading", _PROCESSES, _PROCESSES + 2)
    workload = Workload(plain)
    with Team(engine) as members:
        works: dict[str, timing.Work] = {
            _ENGINE: partial(members.work, team.UPDATE),
            _PLAIN: case.plain_update(workload),
        }
        if processes > 1:
            works[_PLAIN_TOO] = partial(members.work, team.PLAIN)
        took = {name: median(found) / videos for name, found in timing.alternate(works, REPEATS, progress).items()}
    report = Report("step", _COLUMNS)
    ratio = members.added / memory.added
    mine = took[_ENGINE]
    report.rows = [[took[_PLAIN] / mine, "speed of one update, per video", mine, took[_PLAIN], "seconds"]]
    if processes > 1:
        other = took[_PLAIN_TOO]
        report.rows.append([other / mine, f"the same, plain in {processes} processes, too", mine, other, "seconds"])
    report.rows += [
        [ratio, "memory added by one update", members.added, memory.added, "MB"],
        [members.peak / memory.peak, "peak of all processes", members.peak, memory.peak, "MB"],
    ]
    report.marks = [
        Mark("times faster per video", took[_PLAIN] / mine, _FASTER, at_most=False),
        Mark("share of the plain implementation's added memory", ratio, _SMALLER),
    ]
    steps = config.sampling.final_timestep - config.sampling.mid_timestep + 1
    report.notes = [
        f"K = {steps}, {videos} videos of {config.data.num_frames} frames an update; the engine in {processes} "
        f"{'process' if processes == 1 else 'processes'}. Medians of {REPEATS} updates that alternate; the engine's "
        "clips are encoded once, as in a run, the plain implementation encodes them anew and takes one video after the "
        "other."
    ]
    report.parameters = {"seconds_per_video": took, "gradient_steps": steps, "processes": processes}
    return report
