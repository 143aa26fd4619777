"""Stands where the trainer is, in milliseconds: `python fake_trainer.py BEHAVIOUR RUN_DIR`.

It keeps the same files as the trainer (status, metrics, receipts, failure.json), and misbehaves as told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.metrics import MetricsWriter
from rewardfl_app.runs.status import Status, write_status

STEPS = 3


def say(run: RunFolder, state: str, step: int = 0, total: int = STEPS, phase: str = "") -> None:
    write_status(run, Status(state=state, phase=phase, step=step, total=total, message=""))  # type: ignore[arg-type]


def evaluation(step: int) -> dict[str, float]:
    record: dict[str, float] = {"step": step, "time": time.time()}
    for name, value in (("reward", 0.7), ("judge", 0.8), ("motion", 3.0)):
        record[f"eval/{name}"] = value + 0.1 * step / STEPS
        record[f"eval/{name}_baseline"] = value
    return record


def train(run: RunFolder, steps: int, pause: float) -> int:
    with MetricsWriter(run.metrics) as metrics:
        metrics.append(evaluation(0))
        for step in range(1, steps + 1):
            say(run, "training", step, steps)
            metrics.append({"step": step, "time": time.time(), "loss": 1.0 / step, "reward": 0.7, "kl": 0.01})
            for request in control.pending(run):
                control.acknowledge(run, request.id, "done")
                if request.kind in ("stop_and_save", "stop_now"):
                    say(run, "stopped", step, steps)
                    return 0
            time.sleep(pause)
        metrics.append(evaluation(STEPS))
    say(run, "completed", steps, steps)
    return 0


def main(behaviour: str, run: RunFolder) -> int:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "OMP_WAIT_POLICY", "PYTHONPATH")
    seen = {name: os.environ.get(name) for name in names}
    (run.path / "environment.json").write_text(json.dumps(seen))
    say(run, "training", 1)
    if behaviour == "completes":
        return train(run, STEPS, 0.0)
    if behaviour == "slow":
        return train(run, 10_000, 0.02)
    if behaviour == "first_fails_then_completes":
        marker = run.path / "attempted"
        if not marker.exists():
            marker.touch()
            return 1
        return train(run, STEPS, 0.0)
    if behaviour == "bad_data":
        sentence = "metadata.csv: row 2: no face is found in the first frame of b.mp4."
        write_json_atomic(run.failure, {"cause": "bad_data", "sentence": sentence, "next_step": "Remove row 2."})
        return 2
    if behaviour == "crashes":
        raise RuntimeError("the flux capacitor is empty")
    if behaviour == "out_of_gpu_memory":
        say(run, "training", 2, phase="decoding")
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", file=sys.stderr)
        return 1
    if behaviour == "segfaults":
        os.kill(os.getpid(), signal.SIGSEGV)
    if behaviour == "leaves_silently":
        return 0
    if behaviour in ("ignores_stop", "ignores_everything", "ignores_everything_with_grandchild"):
        if behaviour != "ignores_stop":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if behaviour.endswith("grandchild"):
            code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
            for own_group in (None, 0):
                child = subprocess.Popen([sys.executable, "-c", code], process_group=own_group)
                with open(run.path / "grandchildren", "a") as file:
                    file.write(f"{child.pid}\n")
        (run.path / "ready").touch()
        time.sleep(600)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], RunFolder(Path(sys.argv[2]))))
