"""A runs folder as months leave it, made up: runs that have ended, and one that goes on, with many steps, evaluations,
samples and checkpoints. Files and formats are the real ones; nothing in them was computed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from rewardfl_app.config import files, presets
from rewardfl_app.runs import identity
from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.metrics import MetricsWriter
from rewardfl_app.runs.samples import sample_folder, write_faces
from rewardfl_app.runs.status import State, Status, write_status

NUM_RUNS = 50
NUM_STEPS = 10_000
NUM_SAMPLES = 200
_EVERY = 50  # steps between evaluations
_SAMPLED = 10  # evaluations whose videos are still there
_CHECKPOINTS = 20
_MEASURES = ("reward", "judge", "motion", "frame_motion", "first_frame_distance", "face_rate", "face_size", "sharpness")


class MadeUpRun:
    """A run that the process which created it seems to train, until `finish`."""

    def __init__(self, folder: RunFolder, total: int) -> None:
        self.folder = folder
        self._total = total
        self._metrics = MetricsWriter(folder.metrics)

    @classmethod
    def create(cls, runs_dir: Path, name: str, num_steps: int, total: int) -> MadeUpRun:
        """With records of `num_steps` steps of `total` and of their evaluations."""
        folder = RunFolder.create(runs_dir, name)
        files.dump(presets.preset("pocket"), folder.config)
        record = identity.describe(os.getpid(), ["bench"], role="wrapper", started=time.time() - 1)
        write_json_atomic(folder.process, record)
        folder.metrics.write_text(_records(num_steps), encoding="utf-8")
        run = cls(folder, total)
        run.status("training", num_steps, "going on")
        return run

    def status(self, state: State, step: int, message: str) -> None:
        """Replaces status.json."""
        left = 0.7 * (self._total - step)
        write_status(self.folder, Status(state, state, step, self._total, message, seconds_left=left))

    def step(self, step: int) -> None:
        """One step more."""
        self._metrics.append({"time": time.time(), **_training(step)})
        self.status("training", step, f"step {step} of {self._total}")

    def evaluate(self, step: int, num_samples: int = 20) -> None:
        """One evaluation more, its videos, and the event."""
        self.samples(step, num_samples)
        self._metrics.append({"time": time.time(), **_evaluation(step)})
        log_event(self.folder, "evaluation", f"Rendered the evaluation videos after step {step}.", step=step)

    def samples(self, step: int, count: int) -> None:
        """Videos of the model after a step; what is in them cannot be played."""
        for number in range(count):
            folder = sample_folder(self.folder, step, f"row_{number:03d}")
            (folder / "video.mp4").write_bytes(bytes(64))
            write_faces(folder, {"prompt": "a person talks", "fps": 8, "reward": 0.7, "frames": []})

    def checkpoint(self, step: int) -> None:
        """A complete checkpoint of a few bytes."""
        path = begin(self.folder, step)
        (path / "adapter.safetensors").write_bytes(bytes(16))
        commit(self.folder, step, path)

    def finish(self) -> None:
        """exit.json: it has completed."""
        account = {"return_code": 0, "signal": None, "cause": "completed", "sentence": "", "next_step": ""}
        write_json_atomic(self.folder.exit, account)


def write(
    runs_dir: Path, num_runs: int = NUM_RUNS, num_steps: int = NUM_STEPS, num_samples: int = NUM_SAMPLES
) -> MadeUpRun:
    """Fills a runs folder and returns its newest run, which goes on and has the samples; the others have ended after as
    many steps."""
    for number in range(num_runs - 1):
        MadeUpRun.create(runs_dir, f"run {number}", num_steps, num_steps).finish()
    living = MadeUpRun.create(runs_dir, "living", num_steps, 2 * num_steps)
    for step in _spread(num_steps, _SAMPLED):
        living.samples(step, max(1, num_samples // _SAMPLED))
    for number in range(1, _CHECKPOINTS + 1):
        living.checkpoint(number * num_steps // _CHECKPOINTS)
    return living


@lru_cache(maxsize=1)
def _records(num_steps: int) -> str:
    """metrics.jsonl after so many steps."""
    lines = []
    for step in range(num_steps + 1):
        records = [_training(step)] if step else []
        records += [_evaluation(step)] if step % _EVERY == 0 else []
        lines += [json.dumps({"time": 1e9 + step, **record}) + "\n" for record in records]
    return "".join(lines)


def _spread(num_steps: int, count: int) -> Sequence[int]:
    return [num_steps * share // (count - 1) for share in range(count)]


def _training(step: int) -> dict[str, float]:
    values = {"loss": 0.4, "reward": 0.6, "kl": 0.001, "grad_norm": 0.9, "learning_rate": 5e-4}
    return {"step": step, **values, "step_seconds": 0.7, "peak_memory_gb": 1.4, "face_rate": 1.0}


def _evaluation(step: int) -> dict[str, float]:
    record: dict[str, float] = {"step": step}
    for name in _MEASURES:
        record[f"eval/{name}"] = 0.65
        if step:
            record |= {f"eval/{name}_baseline": 0.6, f"eval/{name}_gain": 0.05}
            record |= {f"eval/{name}_gain_low": 0.03, f"eval/{name}_gain_high": 0.07}
    return record
