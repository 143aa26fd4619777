"""Run folders whose content a test writes, for what only reads them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_up_runs
import numpy as np

from rewardfl_app import Run
from rewardfl_app.data import video
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.samples import sample_folder, write_faces

Start = Callable[..., Run]


class WrittenRun:
    """A run folder that nobody runs: what stands in it is written by the test."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @classmethod
    def create(cls, runs_dir: Path, name: str = "written") -> WrittenRun:
        return cls(Run(RunFolder.create(runs_dir, name)))

    def add(self, *records: dict[str, Any]) -> None:
        with self.run.folder.metrics.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"time": time.time(), **record}) + "\n" for record in records)

    def steps(self, first: int, last: int) -> None:
        self.add(
            *({"step": n, "reward": 0.6 + n / 1000, "loss": 1 / n, "kl": n / 1e4, "grad_norm": 0.5}
              for n in range(first, last + 1))
        )  # fmt: skip

    def evaluations(self, count: int) -> None:
        base = {f"eval/{name}": value for name, value in made_up_runs.BASE.items()}
        self.add({"step": 0, **base}, *made_up_runs.records(num_evaluations=count, reward=made_up_runs.rising(0.1)))

    def samples(self, step: int, names: tuple[str, ...] = ("one", "two"), reward: float | None = 0.7) -> None:
        for place, name in enumerate(names):
            folder = sample_folder(self.run.folder, step, name)
            frames = np.full((5, 32, 32, 3), 40 * place + step, dtype=np.uint8)
            video.write(folder / "video.mp4", frames, 8)
            write_faces(folder, {"prompt": f"<b>{name}</b>", "seed": 1, "reward": reward, "judge": 0.8, "motion": 3.0})
