"""How cost grows: seconds and memory of an update against every size that a person sets, each with its exponent.

cost ~ size ** exponent, by least squares of the logarithms: 1 is twice the cost for twice the size, 0 is flat.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import numpy as np

from rewardfl_app.bench import case, memory, timing, trained_run
from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.bench.workload import Workload, changed
from rewardfl_app.config import devices, family
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest, video
from rewardfl_app.runs import metrics
from rewardfl_app.runs.change import number

STEPS, FRAMES, SIDES, BATCHES, PROCESSES = (1, 2, 4, 8), (5, 9, 17, 33), (64, 96, 128, 192), (1, 2, 4), (1, 2)
REPEATS = 3
UPDATES = 6  # of the runs of one and of several processes
_SIDE = 64  # pixels, where a configuration follows its clips
_SLACK = 0.1  # of an exponent, for the noise of a shared machine
_EFFICIENT = 0.8
_COLUMNS = ("exponent", "MB: exponent", "what", "seconds", "added MB")


@dataclass(frozen=True)
class Group:
    """One size that grows. `added`: the exponent that memory should not exceed, as 1 is that of the seconds; `tokens`:
    of the transformer at each size, where the size changes them."""

    name: str
    sizes: Sequence[int]
    settings: Callable[[int], Config]
    added: float = 1.0
    tokens: Callable[[int], int] | None = None


def measure(config: Config, progress: Progress) -> Report:
    """Seconds: medians of updates that alternate over the sizes of a group in one process; memory: of an update in a
    process of its own. Clips that are too short are gone through back and forth. Raises CaseFailed, DataError,
    ConfigError."""
    report = Report("growth", _COLUMNS)
    with tempfile.TemporaryDirectory(prefix="rewardfl-growth-") as folder:
        clips = lengthened(config, Path(folder), max(*FRAMES, config.data.num_frames), max(BATCHES))
        base = _base(config, clips)
        for group in groups(base):
            _grow(report, group, progress)
        _scale(report, base, Path(folder), progress)
    report.notes += [
        "exponent: from the size before to this one; the marks have that of all sizes together. What is done once for "
        "an update lowers it. added: see `bench memory`.",
        "Should be: gradient steps 1 in seconds, 0 in memory; frames and pixels 1, or that of the transformer's own "
        "operations where attention counts; videos 1; processes -1 (each has as many threads as the others).",
    ]
    report.parameters |= {"repeats": REPEATS, "updates": UPDATES}
    return report


def groups(base: Config) -> list[Group]:
    """What grows, one size at a time; all else is as in the configuration, of one video an update."""
    side = family.of(base.model).size_multiple
    height, width = base.data.height or _SIDE, base.data.width or _SIDE
    chunk = base.sampling.decode_chunk or 4

    def tokens(num_frames: int, pixels: int) -> int:
        return ((num_frames - 1) // 4 + 1) * pixels // side**2

    return [
        Group("gradient steps", STEPS, lambda k: memory.with_steps(base, k, chunk), added=0.0),
        Group(
            "frames",
            FRAMES,
            lambda n: changed(base, data={"num_frames": n}),
            tokens=lambda n: tokens(n, height * width),
        ),
        Group(
            "pixels of a frame",
            [side**2 for side in SIDES],
            lambda n: changed(base, data={"height": int(n**0.5), "width": int(n**0.5), "max_pixels": n}),
            tokens=lambda n: tokens(base.data.num_frames, n),
        ),
        Group("videos of a micro-batch", BATCHES, lambda n: changed(base, train=_batch(n, 1))),
    ]


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size, by least squares; both above 0."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def _local(sizes: Sequence[float], costs: Sequence[float], place: int) -> float | None:
    """The exponent from the size before to this one; None at the first."""
    return exponent(sizes[place - 1 : place + 1], costs[place - 1 : place + 1]) if place else None


def lengthened(config: Config, folder: Path, num_frames: int, num_clips: int) -> Path:
    """A metadata.csv of the configuration's first clips, each gone through back and forth up to `num_frames`. Raises
    DataError."""
    path = folder / "metadata.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "prompt"))
        for row in manifest.read(Path(config.data.metadata_path or ""))[:num_clips]:
            info = video.probe(row.video)
            frames = video.read(row.video, min(num_frames, info.num_frames))
            there = np.arange(len(frames))
            back_and_forth = np.concatenate([there, there[-2:0:-1]])
            name = f"clip_{row.index:03d}.mp4"
            video.write(folder / name, frames[np.resize(back_and_forth, num_frames)], info.fps)
            writer.writerow((name, row.prompt))
    return path


def _base(config: Config, clips: Path) -> Config:
    """One video, one process, the weights undivided."""
    alone = {"num_processes": 1, "context_parallel": 1, "zero_stage": 0}
    alone |= {"offload_optimizer": False, "offload_parameters": False}
    return changed(
        config,
        data={"metadata_path": str(clips)},
        evaluation={"metadata_path": str(clips)},
        deepspeed=alone,
        train=_batch(1, 1),
    )


def _batch(videos: int, rounds: int, processes: int = 1) -> dict[str, int]:
    size = videos * rounds * processes
    return {"per_device_train_batch_size": videos, "gradient_accumulation_steps": rounds, "train_batch_size": size}


def _grow(report: Report, group: Group, progress: Progress) -> None:
    added = []
    for place, size in enumerate(group.sizes):
        progress(f"memory of {group.name}: {size}", place, len(group.sizes))
        added.append(max(1.0, case.measure(group.settings(size), "update", case.ENGINE).added))
    works: dict[str, timing.Work] = {}
    workloads = []
    for place, size in enumerate(group.sizes):
        progress(f"loading, {group.name}: {size}", place, len(group.sizes))
        workloads.append(Workload(group.settings(size)))
        works[f"{group.name}: {size}"] = _update(workloads[-1])
    for work in works.values():
        work()  # what is only done once is not timed
    found = timing.alternate(works, REPEATS, progress)
    seconds = [median(values) for values in found.values()]
    for place, (what, took, more) in enumerate(zip(works, seconds, added, strict=True)):
        local = [_local(group.sizes, costs, place) for costs in (seconds, added)]
        report.rows.append([*local, what, took, more])
    allowed = 1.0
    if group.tokens is not None:
        operations = [_operations(workloads[0], group.tokens(size)) for size in group.sizes]
        allowed = max(allowed, exponent(group.sizes, operations))
    in_time, in_memory = exponent(group.sizes, seconds), exponent(group.sizes, added)
    report.marks += [
        Mark(f"{group.name}: exponent of the seconds, should be at most {allowed:.2f}", in_time, allowed + _SLACK),
        Mark(
            f"{group.name}: exponent of the memory, should be at most {group.added:.0f}",
            in_memory,
            group.added + _SLACK,
        ),
    ]
    report.parameters[group.name] = {
        "seconds": list(found.values()),
        "added_mb": added,
        "exponents": [in_time, in_memory],
    }


def _update(workload: Workload) -> timing.Work:
    config = workload.config
    samples, step = workload.samples(config), workload.step(workload.engine(), config)
    numbers = count(1)
    return lambda: step.update(samples, next(numbers), config.train.learning_rate)


def _operations(workload: Workload, tokens: int) -> float:
    """Of one forward of the transformer that trains: 2 P n + 4 layers n^2 width."""
    network = workload.model.experts[next(iter(workload.adaptations))]
    sizes = network.config
    width = sizes["num_attention_heads"] * sizes["attention_head_dim"]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return float(2 * parameters * tokens + 4 * sizes["num_layers"] * tokens**2 * width)


def _scale(report: Report, base: Config, folder: Path, progress: Progress) -> None:
    """Strong scaling: the same videos an update on more processes, as runs, each process with as many threads."""
    threads = {"OMP_NUM_THREADS": str(devices.threads_each(max(PROCESSES)))}
    seconds = []
    for place, processes in enumerate(PROCESSES):
        progress(f"a run on {processes} processes", place, len(PROCESSES))
        config = changed(
            base,
            train={**_batch(1, max(PROCESSES) // processes, processes), "max_steps": UPDATES, "save_steps": UPDATES},
            evaluation={"num_samples": 1, "eval_steps": UPDATES},
            deepspeed={"num_processes": processes},
        )
        run, _ = trained_run.train(config, folder / "runs", environment=threads)
        took = [number(record.get("step_seconds")) for record in metrics.read_all(run.metrics)]
        known = [value for value in took if value is not None]
        seconds.append(median(known[1:] or known))
        local = _local(PROCESSES, seconds, place)
        report.rows.append([local, None, f"processes, the same videos: {processes}", seconds[-1], None])
    fewest, most = PROCESSES[0], PROCESSES[-1]
    efficiency = seconds[0] * fewest / (seconds[-1] * most)
    what = f"share of the ideal speed on {most} processes, should be 1"
    report.marks.append(Mark(what, efficiency, _EFFICIENT, at_most=False))
    report.parameters["processes"] = {"seconds": seconds, "efficiency": efficiency, **threads}
