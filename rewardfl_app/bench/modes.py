"""What each gradient mode, pool and penalty is worth: runs that differ in that alone, over several seeds.

Every run is an ordinary one (`python -m rewardfl_app train`), judged at its end on people that no model has seen. A run
that is complete is not made again, so an interrupted table goes on where it was.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from rewardfl_app.config import devices, presets
from rewardfl_app.runs import alarm, jsonfile, metrics
from rewardfl_app.runs.change import number
from rewardfl_app.runs.folder import RunError, RunFolder

# Name and what it changes in the preset. The window of steps is all that the low-noise expert runs, where K needs it.
VARIANTS: dict[str, tuple[str, ...]] = {
    "K = 1": (),
    "K = 2": ("sampling.mid_timestep=6",),
    "K = 4": ("sampling.mid_timestep=4",),
    "K = 4, alpha 0.5": ("sampling.mid_timestep=4", "sampling.gradient_decay=0.5"),
    "K = 4, alpha 0": ("sampling.mid_timestep=4", "sampling.gradient_decay=0"),
    "random K of 4": ("sampling.mid_timestep=4", "sampling.gradient_mode=random_k"),
    "2 random steps of 4": ("sampling.mid_timestep=4", "sampling.gradient_mode=random_steps"),
    "DRaFT-LV, 2": ("sampling.gradient_mode=draft_lv",),
    "ReFL, steps 4 to 7": ("sampling.mid_timestep=4", "sampling.gradient_mode=refl"),
    "pool centroid": ("reward.pool=centroid",),
    "pool max": ("reward.pool=max",),
    "pool first frame": ("reward.pool=first_frame",),
    "hinge": ("reward.hinge=true",),
    "no KL": ("reward.kl_weight=0",),
    "no KL, first frame": ("reward.kl_weight=0", "reward.pool=first_frame"),
    "KL on gradient steps": ("reward.kl_steps=gradient",),
    "KL 1.5": ("reward.kl_weight=1.5",),
    "KL 3": ("reward.kl_weight=3",),
    "K = 4, KL 5": ("sampling.mid_timestep=4", "reward.kl_weight=5"),
}


_MADE_WITH = "bench.json"  # in a run's folder: what all runs of its table had in common


@dataclass(frozen=True)
class Outcome:
    """What one run came to: changes from the base model on the evaluation videos."""

    variant: str
    seed: int
    reward: float | None
    judge: float | None
    motion: float | None
    step_seconds: float | None
    alarm: str | None


@dataclass(frozen=True)
class Mean:
    """Means over the seeds, with the range of the judge's gain; `motion` is a share of the base model's."""

    variant: str
    seeds: int
    reward: float | None
    judge: float | None
    judge_low: float | None
    judge_high: float | None
    motion: float | None
    step_seconds: float | None
    alarms: int


def measure(
    runs_dir: Path, variants: Sequence[str], seeds: Sequence[int], assignments: Sequence[str], jobs: int
) -> list[Outcome]:
    """Makes the runs that are missing, `jobs` at a time, and reads all of them.

    `variants`: names of VARIANTS. `assignments`: `section.field=value` for all runs. Raises RunError naming a run that
    did not complete.
    """
    wanted = [(variant, seed) for seed in seeds for variant in variants]
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda pair: _outcome(runs_dir, pair[0], pair[1], assignments, jobs), wanted))


def summary(outcomes: Sequence[Outcome]) -> list[Mean]:
    """One line per variant, in the order of appearance."""
    lines = []
    for variant in dict.fromkeys(outcome.variant for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.variant == variant]
        judged = [outcome.judge for outcome in own if outcome.judge is not None]
        lines.append(
            Mean(
                variant=variant,
                seeds=len(own),
                reward=_mean([outcome.reward for outcome in own]),
                judge=_mean([outcome.judge for outcome in own]),
                judge_low=min(judged, default=None),
                judge_high=max(judged, default=None),
                motion=_mean([outcome.motion for outcome in own]),
                step_seconds=_mean([outcome.step_seconds for outcome in own]),
                alarms=sum(outcome.alarm is not None for outcome in own),
            )
        )
    return lines


def table(means: Sequence[Mean]) -> str:
    """The lines as a Markdown table."""
    rows = [
        "| what | reward | judge (range over seeds) | motion kept | s a step | alarm |",
        "|---|---|---|---|---|---|",
    ]
    for line in means:
        spread = f"{_signed(line.judge)} ({_signed(line.judge_low)} to {_signed(line.judge_high)})"
        motion = "-" if line.motion is None else f"{line.motion:.0%}"
        alarms = f"{line.alarms} of {line.seeds}"
        seconds = "-" if line.step_seconds is None else f"{line.step_seconds:.2f}"
        rows.append(f"| {line.variant} | {_signed(line.reward)} | {spread} | {motion} | {seconds} | {alarms} |")
    return "\n".join(rows)


def as_json(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Every run and the means."""
    return {"runs": [asdict(o) for o in outcomes], "means": [asdict(mean) for mean in summary(outcomes)]}


def _outcome(runs_dir: Path, variant: str, seed: int, assignments: Sequence[str], jobs: int) -> Outcome:
    name = f"{variant}, seed {seed}"
    run = _completed(runs_dir, name, assignments)
    if run is None:
        _train(runs_dir, name, variant, seed, assignments, jobs)
        run = _completed(runs_dir, name, assignments)
    if run is None:
        raise RunError(f"The run {name} did not complete: see its train.log in {runs_dir}.")
    records = metrics.read_all(run.metrics)
    last = alarm.after_training(records)[-1]
    gains = {measured: alarm.gain(last, measured) for measured in ("reward", "judge", "motion")}
    raised = [found for found in alarm.history(records).values() if found is not None]
    seconds = [value for record in records if (value := number(record.get("step_seconds"))) is not None]
    reward, judge, motion = gains["reward"], gains["judge"], gains["motion"]
    return Outcome(
        variant=variant,
        seed=seed,
        reward=reward.value if reward else None,
        judge=judge.value if judge else None,
        motion=motion.ratio if motion else None,
        step_seconds=statistics.median(seconds) if seconds else None,
        alarm=raised[0].sentence if raised else None,
    )


def _completed(runs_dir: Path, name: str, assignments: Sequence[str]) -> RunFolder | None:
    for path in sorted(runs_dir.glob("*")) if runs_dir.is_dir() else ():
        run = RunFolder(path)
        told = jsonfile.read_json(run.run_info) or {}
        ended = jsonfile.read_json(run.exit) or {}
        made = jsonfile.read_json(path / _MADE_WITH) or {}
        if told.get("name") == name and ended.get("cause") == "completed" and made.get("set") == list(assignments):
            return run
    return None


def _train(runs_dir: Path, name: str, variant: str, seed: int, assignments: Sequence[str], jobs: int) -> None:
    changes = [f"train.seed={seed}", *assignments, *VARIANTS[variant]]
    changes += ["deepspeed.share_devices=true"] if jobs > 1 else []
    command = [sys.executable, "-m", "rewardfl_app", "train", "--preset", "pocket", "--runs-dir", str(runs_dir)]
    command += ["--name", name, *(word for change in changes for word in ("--set", change))]
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE")
    if jobs > 1:
        processes = jobs * presets.preset("pocket").deepspeed.num_processes
        environment["OMP_NUM_THREADS"] = str(devices.threads_each(processes))
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    for path in runs_dir.glob("*"):
        if (jsonfile.read_json(RunFolder(path).run_info) or {}).get("name") == name:
            jsonfile.write_json_atomic(path / _MADE_WITH, {"set": list(assignments)})


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
