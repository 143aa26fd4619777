"""The training processes of a configuration, without a run: they load what they need once and then work when told, so
that what they take can be measured in turn with something else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from rewardfl_app.bench import case, timing
from rewardfl_app.bench.case import CaseFailed
from rewardfl_app.bench.workload import Workload, free_port
from rewardfl_app.config import devices, files
from rewardfl_app.config.schema import Config

UPDATE, PLAIN = "update", "plain"


class Team:
    """As many processes as the configuration says. Use it with `with`.

    Attributes: `added` and `peak`: MB that their first update took beyond what was loaded, and that they took at most,
    summed over the processes.
    """

    def __init__(self, config: Config) -> None:
        """Starts them and makes the first update. Raises CaseFailed."""
        self._size = config.deepspeed.num_processes
        self._folder = tempfile.TemporaryDirectory(prefix="rewardfl-team-")
        self._members: list[subprocess.Popen[str]] = []
        folder = Path(self._folder.name)
        files.dump(config, folder / "config.yaml")
        meeting = {"WORLD_SIZE": str(self._size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        if self._size > 1 and not devices.visible_gpus():
            meeting["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(devices.threads_each(self._size)))
        for rank in range(self._size):
            with (folder / f"said {rank}").open("wb") as said:
                self._members.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "rewardfl_app.bench", "member", "--folder", str(folder)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=said,
                        text=True,
                        env={**os.environ, **meeting, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                    )
                )
        try:
            ready = self._told()
        except BaseException:
            self._end()
            raise
        self.added = sum(member["added"] for member in ready)
        self.peak = sum(member["peak"] for member in ready)

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for member in self._members:
            member.kill()
            member.communicate()
        self._folder.cleanup()

    def work(self, what: str) -> None:
        """All of them do it once, side by side: "update", the engine's, or "plain", the plain implementation's of the
        same videos. Raises CaseFailed."""
        for member in self._members:
            assert member.stdin is not None
            member.stdin.write(f"{what}\n")
            member.stdin.flush()
        self._told()

    def _told(self) -> list[dict[str, Any]]:
        return [self._line(rank, member) for rank, member in enumerate(self._members)]

    def _line(self, rank: int, member: subprocess.Popen[str]) -> dict[str, Any]:
        assert member.stdout is not None
        for line in member.stdout:
            if line.startswith(_MARK):
                told: dict[str, Any] = json.loads(line.removeprefix(_MARK))
                return told
        said = (Path(self._folder.name) / f"said {rank}").read_text(encoding="utf-8", errors="replace")
        lines = [line for line in said.splitlines() if line.strip()]
        raise CaseFailed(lines[-1] if lines else f"a measuring process ended with code {member.wait()}")


_MARK = "done "  # libraries print, too


def serve(folder: Path) -> None:
    """What a member does: works until its input ends."""
    config = files.load(folder / "config.yaml")
    workload = Workload(config)
    step = workload.step(workload.engine(), config)  # first of all: it brings the processes together
    samples = workload.samples(config)
    numbers = count(1)
    works: dict[str, Callable[[], object]] = {
        UPDATE: lambda: step.update(samples, next(numbers), config.train.learning_rate),
        PLAIN: case.plain_update(workload),
    }
    first = case.watched(works[UPDATE])
    _tell({"added": first.added, "peak": first.peak})
    for line in sys.stdin:
        _tell({"seconds": timing.seconds(works[line.strip()])})


def _tell(content: dict[str, float]) -> None:
    print(_MARK + json.dumps(content), flush=True)
