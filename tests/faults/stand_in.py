"""Stands where the trainer is, with all of its files: `python stand_in.py RUN_DIR`.

Metrics, samples and checkpoints are written through the package, in steps of a few milliseconds, and a resumed run goes
on from its last complete checkpoint. With several processes in its settings it is launcher and ranks in one, as
DeepSpeed's launcher behaves: a rank that dies ends the others. With a train.disk_wait_minutes of 0 it does not look for
room on the disk, and meets the full disk while it writes. Beside the run's own files it keeps ledger.txt, a line for
every step whose metrics were written, by which the tests know what must not be lost.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from rewardfl_app.runs import checkpoints, control, jsonlines, metrics, pulse, reserve, samples
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.metrics import MetricsWriter
from rewardfl_app.runs.status import Status, write_status
from rewardfl_app.training.room import Room

SAVE_STEPS, SAMPLE_STEPS = 4, 3
PAUSE = 0.012
FILE_BYTES = 20_000


def content(step: int, name: str) -> bytes:
    """What a file of this step holds from its first byte to its last."""
    return f"{name} {step} ".encode().ljust(16) * (FILE_BYTES // 16)


class StandIn:
    """Rank 0: everything that is written."""

    def __init__(self, run: RunFolder, settings: dict[str, Any]) -> None:
        self._run = run
        self._steps = int(settings["train"]["max_steps"])
        self._step = 0
        self._doing = "loading"
        ranks: Any = SimpleNamespace(is_first=True, from_first=lambda values: values)
        patience = float(settings["train"]["disk_wait_minutes"])
        config: Any = SimpleNamespace(train=SimpleNamespace(min_free_gb=1e-4, disk_wait_minutes=patience))
        reporter: Any = SimpleNamespace(phase="training", step=0, event=lambda *_, **__: None, status=self._pause)
        self._room = Room(run, config, ranks, reporter) if patience else None

    def train(self) -> int:
        self._say("loading")
        latest = checkpoints.latest(self._run)
        if latest is not None:
            self._step = latest.step
            for name in ("weights", "moments"):
                assert (latest.path / name).read_bytes() == content(latest.step, name), "a checkpoint that is none"
        self._cut()
        with MetricsWriter(self._run.metrics) as writer, open(self._run.path / "ledger.txt", "ab", 0) as ledger:
            while self._step < self._steps:
                asked = {request.kind: request.id for request in control.pending(self._run)}
                if asked:
                    self._answer(asked)
                if {"stop_and_save", "stop_now"} & set(asked):
                    self._say("stopped")
                    return 0
                if self._room is not None and not self._room.wait_for(4 * FILE_BYTES, "A step"):
                    continue
                self._step += 1
                self._say("training")
                time.sleep(PAUSE)
                try:
                    writer.append({"step": self._step, "time": time.time(), "loss": 1.0 / self._step})
                    ledger.write(f"{self._step}\n".encode())
                except OSError as error:
                    if reserve.is_full(error) and reserve.spend(self._run):
                        writer.append({"step": self._step, "time": time.time(), "loss": 1.0 / self._step})
                    raise
                if self._step % SAMPLE_STEPS == 0:
                    self._sample()
                if self._step % SAVE_STEPS == 0 or self._step == self._steps:
                    self._save()
        self._say("completed")
        return 0

    def fail(self, error: BaseException) -> int:
        cause = "disk_full" if reserve.is_full(error) else "unknown"
        sentence = f"{type(error).__name__}: {error} ({self._doing})"
        account = {"cause": cause, "sentence": sentence, "next_step": "Resume."}
        reserve.last_words(self._run, lambda: write_json_atomic(self._run.failure, account))
        return 1

    def _cut(self) -> None:
        """As the trainer does: what is made again is not there twice."""
        kept = [r for r in metrics.current(metrics.read_all(self._run.metrics)) if r["step"] <= self._step]
        if self._run.metrics.exists():
            jsonlines.rewrite(self._run.metrics, kept)
            (self._run.path / "ledger.txt").write_text("".join(f"{r['step']}\n" for r in kept))

    def _answer(self, asked: dict[str, str]) -> None:
        if "stop_and_save" in asked or "save_now" in asked:
            self._save()
        for request in asked.values():
            control.acknowledge(self._run, request, "done", step=self._step)

    def _sample(self) -> None:
        self._say("evaluating")
        folder = samples.sample_folder(self._run, self._step, "row_000")
        unfinished = folder / ".video.mp4.part"
        unfinished.write_bytes(content(self._step, "video"))
        time.sleep(PAUSE / 4)
        unfinished.replace(folder / "video.mp4")
        samples.write_faces(folder, {"video": "video.mp4", "step": self._step, "frames": []})

    def _save(self) -> None:
        if not self._step:
            return
        self._say("saving")
        folder = checkpoints.begin(self._run, self._step)
        for name in ("weights", "moments"):
            (folder / name).write_bytes(content(self._step, name))
            time.sleep(PAUSE / 4)
        checkpoints.commit(self._run, self._step, folder)

    def _say(self, state: Any) -> None:
        self._doing = state
        try:
            write_status(self._run, Status(state, state, self._step, self._steps, ""))
        except OSError as error:
            if not reserve.is_full(error):
                raise

    def _pause(self, state: Any, message: str = "", *_: object) -> None:
        write_status(self._run, Status(state, state, self._step, self._steps, message))


def launch(num_ranks: int, run: RunFolder) -> int:
    """The launcher's part: starts the ranks, and ends all when one fails."""
    ranks = []
    for rank in range(num_ranks):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
        ranks.append(subprocess.Popen([sys.executable, __file__, str(run.path)], env=environment))

    def end(*_: object) -> None:
        for rank in ranks:
            rank.terminate()
        deadline = time.monotonic() + 2
        while any(rank.poll() is None for rank in ranks) and time.monotonic() < deadline:
            time.sleep(0.02)
        for rank in ranks:
            rank.kill()
        sys.exit(1)

    signal.signal(signal.SIGTERM, end)
    while True:
        codes = [rank.poll() for rank in ranks]
        if any(codes):
            print(f"{sys.argv} exits with return code = {next(code for code in codes if code)}", flush=True)
            end()
        if codes[0] is not None:  # the other ranks only keep rank 0 company
            for rank in ranks[1:]:
                rank.terminate()
            return 0
        time.sleep(0.05)


def main(run: RunFolder) -> int:
    settings = yaml.safe_load(run.config.read_text())
    size = int(settings["deepspeed"]["num_processes"])
    if size > 1 and os.environ.get("WORLD_SIZE") != str(size):
        return launch(size, run)
    rank = int(os.environ.get("RANK", "0"))
    pulse.start(run, rank, size)
    if rank:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while True:
            time.sleep(1)
    run.failure.unlink(missing_ok=True)
    trainer = StandIn(run, settings)
    try:
        return trainer.train()
    except Exception as error:
        return trainer.fail(error)


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1]))))
