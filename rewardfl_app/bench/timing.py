"""Times of works that are compared with each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

from rewardfl_app.bench.report import Progress

Work = Callable[[], object]


def seconds(work: Work) -> float:
    """What a work takes on the clock, with all that it leaves to a GPU."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def alternate(works: Mapping[str, Work], repeats: int, progress: Progress) -> dict[str, list[float]]:
    """The seconds of each work, `repeats` times one after the other: what else the machine does meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats):
        for place, (name, work) in enumerate(works.items()):
            progress(name, turn * len(works) + place, repeats * len(works))
            found[name].append(seconds(work))
    return found
