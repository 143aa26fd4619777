"""One measurement in a process of its own, so that its peak of memory is its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from rewardfl_app.bench import resident, timing
from rewardfl_app.bench.workload import Workload
from rewardfl_app.config import files
from rewardfl_app.config.schema import Config
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic

ENGINE, PLAIN = "engine", "straightforward"


class CaseFailed(Exception):
    """A measuring process failed; the message is its last line."""


@dataclass(frozen=True)
class Measured:
    """Memory in MB: `loaded` before the work, `peak` during it, `gpu_peak` of a GPU's own (None without one)."""

    loaded: float
    peak: float
    gpu_peak: float | None
    seconds: float

    @property
    def added(self) -> float:
        """What the work took beyond what was loaded: on the GPU where there is one."""
        return self.gpu_peak if self.gpu_peak is not None else self.peak - self.loaded


def measure(config: Config, what: str, implementation: str, latent_frames: int = 0) -> Measured:
    """One case in a fresh process. `what`: "update", or of latent_frames "reward" (decode, score and pull back) or
    "decode" (decode and pull back alone).

    Raises CaseFailed.
    """
    return Measured(**_in_a_process(config, what, implementation, latent_frames))


def phases(config: Config) -> dict[str, float]:
    """Peaks in GB of the phases of an update, measured in a fresh process: see `bench.plan`. Raises CaseFailed."""
    return _in_a_process(config, "phases", ENGINE, 0)


def _in_a_process(config: Config, what: str, implementation: str, latent_frames: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="rewardfl-case-") as folder:
        out = Path(folder)
        files.dump(config, out / "config.yaml")
        case = {"what": what, "implementation": implementation, "latent_frames": latent_frames}
        write_json_atomic(out / "case.json", case)
        command = [sys.executable, "-m", "rewardfl_app.bench", "case", "--folder", str(out)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        found = read_json(out / "measured.json")
        if done.returncode or found is None:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise CaseFailed(lines[-1] if lines else f"the measuring process ended with code {done.returncode}")
        return found


def run(folder: Path) -> None:
    """What the fresh process does with the files of `measure`."""
    case: dict[str, Any] = read_json(folder / "case.json") or {}
    config = files.load(folder / "config.yaml")
    if case["what"] == "phases":
        from rewardfl_app.bench import plan

        write_json_atomic(folder / "measured.json", plan.watch(config))
        return
    workload = Workload(config)
    work = _work(workload, case["what"], case["implementation"] == PLAIN, case["latent_frames"])
    write_json_atomic(folder / "measured.json", asdict(watched(work)))


def watched(work: Callable[[], object]) -> Measured:
    """What a work takes in this process."""
    loaded = resident.start_peak()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    took = timing.seconds(work)
    gpu_peak = None
    if torch.cuda.is_available():
        gpu_peak = (torch.cuda.max_memory_allocated() - held) / 2**20
    return Measured(loaded, resident.peak_mb(), gpu_peak, took)


def _work(workload: Workload, what: str, plain: bool, latent_frames: int) -> Callable[[], object]:
    config = workload.config
    if what == "decode":
        from rewardfl_app.bench import decode

        return decode.work(workload, latent_frames, plain)
    if what == "reward":
        latents, reference = workload.latents(latent_frames)
        taken = workload.plain_reward_gradient if plain else workload.reward_gradient
        return taken(latents, reference)
    if plain:
        return plain_update(workload)
    samples, step = workload.samples(config), workload.step(workload.engine(), config)
    return lambda: step.update(samples, 1, config.train.learning_rate)


def plain_update(workload: Workload) -> Callable[[], object]:
    """A whole update of the plain implementation, one sample after the other."""
    config = workload.config
    inputs, plain = workload.plain_inputs(workload.samples(config)), workload.straightforward(config)
    optimizer = torch.optim.AdamW(workload.parameters, lr=config.train.learning_rate)

    def update() -> None:
        optimizer.zero_grad()
        for clip, reference, noise in inputs:
            plain.pull_back(clip, reference, noise, len(inputs))
        torch.nn.utils.clip_grad_norm_(workload.parameters, config.train.max_grad_norm)
        optimizer.step()

    return update
