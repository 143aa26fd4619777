"""Seconds and memory of one update beside the straightforward implementation."""

from __future__ import annotations

from functools import partial
from statistics import median

from rewardfl_app.bench import case
from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.bench.timing import seconds
from rewardfl_app.bench.workload import Workload, changed
from rewardfl_app.config.schema import Config

REPEATS = 3
_FASTER, _SMALLER = 6.0, 0.5
_COLUMNS = ("x plain", "what", "engine", "plain", "unit")


def measure(config: Config, progress: Progress) -> Report:
    """Medians of a few updates that alternate in one process, and the memory of one in a process each. Raises
    CaseFailed."""
    # Under ZeRO the plain implementation beside it would not own the weights.
    alone = {"num_processes": 1, "context_parallel": 1, "zero_stage": 0}
    alone |= {"offload_optimizer": False, "offload_parameters": False}
    single = changed(config, deepspeed=alone, train=_one_process(config))
    progress("loading", 0, REPEATS + 3)
    workload = Workload(single)
    plain = case.plain_update(workload)
    engine = workload.step(workload.engine(), single)
    samples, rate = workload.samples(single), single.train.learning_rate
    engine.update(samples, 1, rate)  # what is only done once is not timed
    own: list[float] = []
    theirs: list[float] = []
    for turn in range(REPEATS):
        progress("update", turn + 1, REPEATS + 3)
        own.append(seconds(partial(engine.update, samples, turn + 2, rate)))
        theirs.append(seconds(plain))
    count = single.train.train_batch_size
    mine, other = median(own) / count, median(theirs) / count
    memory: list[case.Measured] = []
    for implementation in (case.ENGINE, case.PLAIN):
        progress(f"memory ({implementation})", REPEATS + 1 + len(memory), REPEATS + 3)
        memory.append(case.measure(single, "update", implementation))
    report = Report("step", _COLUMNS)
    ratio = memory[0].added / memory[1].added
    report.rows = [
        [other / mine, "speed of one update, per video", mine, other, "seconds"],
        [ratio, "memory added by one update", memory[0].added, memory[1].added, "MB"],
        [memory[0].peak / memory[1].peak, "peak of the process", memory[0].peak, memory[1].peak, "MB"],
    ]
    report.marks = [
        Mark("times faster per video", other / mine, _FASTER, at_most=False),
        Mark("share of the plain implementation's added memory", ratio, _SMALLER),
    ]
    steps = single.sampling.final_timestep - single.sampling.mid_timestep + 1
    report.notes = [
        f"K = {steps}, micro-batch {single.train.per_device_train_batch_size}, "
        f"{single.data.num_frames} frames. Medians of {REPEATS} updates that alternate; the engine's clips are encoded "
        "once, as in a run, the plain implementation encodes them anew and takes one video after the other."
    ]
    report.parameters = {"seconds": own, "plain_seconds": theirs, "gradient_steps": steps}
    return report


def _one_process(config: Config) -> dict[str, int]:
    """The micro-batch of the configuration, once."""
    size = config.train.per_device_train_batch_size
    return {"gradient_accumulation_steps": 1, "train_batch_size": size}
