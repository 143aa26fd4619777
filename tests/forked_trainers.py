"""Trainers as processes of their own, without the seconds that importing torch takes for each of them.

`python forked_trainers.py` imports everything once and then makes every process by a fork: any number of ranks, real
signals, real exit codes. It reads one job a line from stdin and answers each with one line on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent


class ForkedTrainers:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def train(
        self,
        runs: Sequence[Path],
        *,
        ranks: int = 1,
        capture: bool = False,
        faceless: Mapping[int, Sequence[int]] | None = None,
        kill_after: float | None = None,
    ) -> dict[str, Any]:
        """Trains the runs one after the other; {"codes": exit code of each rank, "seconds"}.

        Args:
            capture: as `captured_gradient.train_two_steps` does.
            faceless: by rank, the places in its batches whose clips have no face.
            kill_after: seconds after which SIGKILL ends all ranks that are still there (code -9).
        """
        job = {"runs": [str(run) for run in runs], "ranks": ranks, "capture": capture}
        job["faceless"] = {str(rank): list(places) for rank, places in (faceless or {}).items()}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({**job, "kill_after": kill_after}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=30)


def log_of(run: Path, rank: int = 0) -> str:
    """The end of what a rank wrote."""
    return (run / f"rank{rank}.log").read_text(errors="replace")[-3000:]


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print on import is no answer
    import brightness_trainer  # noqa: F401
    import captured_gradient  # noqa: F401
    import deepspeed  # noqa: F401
    import torch

    import rewardfl_app.training.trainer  # noqa: F401

    torch.set_num_threads(1)  # a fork has none of its parent's threads
    for line in sys.stdin:
        job = json.loads(line)
        started = time.perf_counter()
        codes = _run(job)
        answers.write(json.dumps({"codes": codes, "seconds": time.perf_counter() - started}) + "\n")
        answers.flush()


def _run(job: dict[str, Any]) -> list[int]:
    from rewardfl_app.supervisor.process import free_port

    started, port = time.monotonic(), free_port()
    pids = []
    for rank in range(job["ranks"]):
        pid = os.fork()
        if pid == 0:
            os._exit(_be_a_rank(job, rank, port))
        pids.append(pid)
    if job["kill_after"] is None:
        return [_code(os.waitpid(pid, 0)[1]) for pid in pids]
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        late = time.monotonic() - started >= job["kill_after"]
        for pid in pids:
            if pid in codes:
                continue
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = _code(status)
            elif late:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return [codes[pid] for pid in pids]


def _code(status: int) -> int:
    return os.waitstatus_to_exitcode(status)


def _be_a_rank(job: dict[str, Any], rank: int, port: int) -> int:
    log = os.open(Path(job["runs"][0]) / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(job["ranks"]))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    import captured_gradient
    from brightness_trainer import BrightnessScorer

    from rewardfl_app.rendering.scoring import Scorer
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.__main__ import main
    from rewardfl_app.training.ranks import Ranks

    scorer = BrightnessScorer(job["faceless"].get(str(rank), ()))
    Scorer.load = classmethod(lambda cls, reward, device="cpu": scorer)  # type: ignore[method-assign,assignment]
    # DeepSpeed keeps the first group of a process for good, so all trainings of one process share it.
    Ranks.leave = lambda self: None  # type: ignore[method-assign]
    try:
        for run in job["runs"]:
            code = captured_gradient.train_two_steps(RunFolder(Path(run))) if job["capture"] else main([run])
            if code:
                return code
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    _serve()
