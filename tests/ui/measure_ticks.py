"""How much a tick costs in a full runs folder: `python tests/ui/measure_ticks.py` prints a table.

The folder is made up: 50 runs, the newest going on with 10,000 steps, 200 evaluations and 200 samples. Times
are of this machine; the tests next door (test_speed.py) count work instead.
"""

from __future__ import annotations

import cProfile
import json
import logging
import pstats
import statistics
import sys
import tempfile
import time
from pathlib import Path

from page_run import FakeRun

from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.samples import sample_folder
from rewardfl_app.ui.session import Session

log = logging.getLogger("measure_ticks")

NUM_RUNS = 50
NUM_STEPS = 10_000
NUM_SAMPLES = 200
EVERY = 50
MEASURES = ("reward", "judge", "motion", "frame_motion", "first_frame_distance", "face_rate", "face_size", "sharpness")


def full_folder(
    runs_dir: Path, num_runs: int = NUM_RUNS, num_steps: int = NUM_STEPS, num_samples: int = NUM_SAMPLES
) -> FakeRun:
    """Fill a runs folder and return its newest run, which goes on; the others have ended after as many steps."""
    for number in range(num_runs - 1):
        ended = FakeRun(runs_dir, f"run {number}", total=num_steps)
        _metrics(ended, num_steps)
        ended.finish()
    living = FakeRun(runs_dir, "living", total=2 * num_steps)
    _metrics(living, num_steps)
    per_step = max(1, num_samples // 10)
    for step in (0, *(num_steps * share // 9 for share in range(1, 10))):
        for number in range(per_step):
            folder = sample_folder(living.folder, step, f"row_{number:03d}")
            (folder / "video.mp4").write_bytes(b"\0" * 64)
            write_json_atomic(
                folder / "faces.json", {"prompt": "a person talks", "fps": 8, "reward": 0.7, "frames": []}
            )
    for step in range(num_steps // 20, num_steps + 1, num_steps // 20):
        path = begin(living.folder, step)
        (path / "adapter.safetensors").write_bytes(b"0" * 16)
        commit(living.folder, step, path)
    living.status("training", num_steps, "going on")
    return living


def _metrics(run: FakeRun, num_steps: int) -> None:
    """A record of every step, and of an evaluation at every 50th, written at once."""
    lines = []
    for step in range(num_steps + 1):
        if step:
            values = {"loss": 0.4, "reward": 0.6, "kl": 0.001, "grad_norm": 0.9, "learning_rate": 5e-4}
            more = {"step_seconds": 0.7, "peak_memory_gb": 1.4, "face_rate": 1.0}
            lines.append({"step": step, "time": 1e9 + step, **values, **more})
        if step % EVERY == 0:
            lines.append({"step": step, "time": 1e9 + step, **_evaluation(step)})
    with open(run.folder.metrics, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _evaluation(step: int) -> dict[str, float]:
    record = {}
    for name in MEASURES:
        record[f"eval/{name}"] = 0.65
        if step:
            record |= {f"eval/{name}_baseline": 0.6, f"eval/{name}_gain": 0.05}
            record |= {f"eval/{name}_gain_low": 0.03, f"eval/{name}_gain_high": 0.07}
    return record


def main() -> None:
    """Make the folder, tick, and say what it cost."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = Path(folder)
        living = full_folder(runs_dir)
        began = time.perf_counter()
        session = Session(runs_dir)
        session.update()
        log.info("first update in this process          %7.1f ms", 1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        Session(runs_dir).update()
        log.info("first update of a second page         %7.1f ms", 1000 * (time.perf_counter() - began))
        session.update()
        quiet = [_timed(session) for _ in range(100)]
        log.info("quiet tick          median %5.1f, highest %5.1f ms", statistics.median(quiet), max(quiet))
        busy = []
        for step in range(NUM_STEPS + 1, NUM_STEPS + 51):
            living.step(step)
            busy.append(_timed(session))
        log.info("tick with a step    median %5.1f, highest %5.1f ms", statistics.median(busy), max(busy))
        living.evaluate(NUM_STEPS + 50)
        log.info("tick with an evaluation               %7.1f ms", _timed(session))
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(100):
            session.update()
        profile.disable()
        pstats.Stats(profile, stream=sys.stdout).sort_stats("cumulative").print_stats(28)


def _timed(session: Session) -> float:
    began = time.perf_counter()
    session.update()
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
