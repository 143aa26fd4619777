"""The wrapper process of a run: `python -m rewardfl_app.supervisor.wrapper RUN_DIR [--adopt] [--attempt TIME]`.

It starts the trainer, waits, writes exit.json and starts the next run of the queue. It is the only process that has to
outlive the page, so everything that must happen later happens here: a stop_now request, a signal to the wrapper and the
loss of one of several training processes all end the trainer in stages (the request, which the trainer answers at the
next step; SIGTERM to its whole process group; SIGKILL to all that is left of the session). With --adopt it takes the
place of a wrapper that was killed alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rewardfl_app.config.secrets import redacted
from rewardfl_app.runs import checkpoints, file_lock, pulse, reserve, unfinished
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.quiet_output import hide_secrets
from rewardfl_app.supervisor import account, exit_report, placement, process
from rewardfl_app.supervisor.command import train_command, train_environment
from rewardfl_app.supervisor.exit_report import ExitReport
from rewardfl_app.supervisor.rank_watch import RankWatch
from rewardfl_app.supervisor.watch import LAUNCHER_STAGES, Signals, StopStages, Trainer, Watch

log = logging.getLogger(__name__)

_CGROUP_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def run(folder: RunFolder, stages: StopStages | None = None) -> ExitReport:
    """Run the trainer of `folder` to its end and write exit.json.

    Call it in the main thread of a process of its own.
    """
    signals = Signals()
    signals.install()
    place = placement.of(folder)
    _clear_up(folder)
    kills_before = _out_of_memory_kills()
    port = process.free_port()
    child = subprocess.Popen(
        train_command(folder, place, port),
        stdin=subprocess.DEVNULL,
        cwd=folder.path,
        env=train_environment(place, port),
        process_group=0,
    )

    def ended(seconds: float) -> bool:
        try:
            child.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    trainer = Trainer(ended, lambda: process.terminate_group(child.pid), lambda: _kill_rest(child.pid))
    patience = stages or (LAUNCHER_STAGES if place.needs_launcher else StopStages())
    watch = Watch(folder, trainer, signals, patience, RankWatch(folder, place.timeout_seconds))
    try:
        watch.until_the_end()
    finally:
        # A trainer that crashed may leave children behind, which would hold memory and the GPU.
        _kill_rest(child.pid)
    report = account.give(
        folder,
        child.returncode,
        out_of_memory_kill=_out_of_memory_kills() > kills_before,
        ended_by_wrapper=watch.ended_by_us,
        lost_rank=watch.lost_rank,
    )
    _write(folder, report)
    return report


def adopt(folder: RunFolder, stages: StopStages | None = None) -> ExitReport:
    """Stay with a trainer whose wrapper was killed alone, to its end, and write exit.json."""
    signals = Signals()
    signals.install()
    record = read_json(folder.process) or {}
    place = placement.of(folder)

    def ended(seconds: float) -> bool:
        time.sleep(seconds)
        return not process.members(record)

    def terminate() -> None:
        process.send(process.members(record), signal.SIGTERM)
        process.send(process.members(record), signal.SIGCONT)

    def kill() -> None:
        process.send(process.members(record), signal.SIGKILL)

    patience = stages or (LAUNCHER_STAGES if place.needs_launcher else StopStages())
    trainer = Trainer(ended, terminate, kill)
    watch = Watch(folder, trainer, signals, patience, RankWatch(folder, place.timeout_seconds))
    watch.until_the_end()
    report = account.give(folder, ended_by_wrapper=watch.ended_by_us, lost_rank=watch.lost_rank)
    _write(folder, report)
    return report


def take_place(folder: RunFolder, attempt: float | None) -> bool:
    """Make sure process.json names this process, even if the one that started it died before writing it; whether the
    attempt is still wanted. It is not when it was declared over, or begun anew, before this process came so far."""
    with file_lock.held(folder.start_lock):
        record = read_json(folder.process)
        if attempt is not None and (folder.exit.exists() or record is None or record.get("started") != attempt):
            return False
        if record is not None and record.get("pid") == os.getpid():
            return True
        named = {"started": time.time(), **(record or {})}
        own = process.describe(os.getpid(), sys.orig_argv, role="wrapper")
        write_json_atomic(folder.process, {**named, **own})
        return True


def _clear_up(folder: RunFolder) -> None:
    """What the attempt before left half done; a newest checkpoint that is damaged is not resumed from."""
    for sentence in checkpoints.recover(folder):
        log_event(folder, "recovered", sentence)
    pulse.clear(folder)
    unfinished.remove(folder)


def _write(folder: RunFolder, report: ExitReport) -> None:
    reserve.last_words(folder, lambda: write_json_atomic(folder.exit, report.as_dict()))
    reserve.spend(folder)  # an ended run needs none


def _kill_rest(group: int) -> None:
    """SIGKILL to the trainer's group and to every other process of this session but the wrapper."""
    process.send_to_group(group, signal.SIGKILL)
    me = os.getpid()
    if os.getsid(0) != me:
        return
    process.send([pid for pid in process.members(process.describe(me, [])) if pid != me], signal.SIGKILL)


def _out_of_memory_kills() -> int:
    """How many processes of this control group the kernel has killed for want of memory, 0 where it does not say."""
    for path in _CGROUP_COUNTERS:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns 0 when the run completed or was stopped as asked, else 1."""
    parser = argparse.ArgumentParser(
        prog="rewardfl_app.supervisor.wrapper", description="Run the trainer of a run folder."
    )
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--adopt", action="store_true", help="watch the trainer that runs there already")
    parser.add_argument("--attempt", type=float, help="the attempt this belongs to: when it was announced, Unix time")
    options = parser.parse_args(arguments)
    folder = RunFolder(options.run_dir)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s wrapper %(levelname)s %(message)s")
    try:
        if not options.adopt and not take_place(folder, options.attempt):
            log.info("this attempt was given up before it began")
            return 0
        report = adopt(folder) if options.adopt else _run_to_its_end(folder)
    finally:
        _start_next(folder.path.parent)
    log.info("%s: %s", report.cause, report.sentence)
    return 0 if report.cause in exit_report.GOOD_CAUSES else 1


def _run_to_its_end(folder: RunFolder) -> ExitReport:
    """`run`; what goes wrong in the wrapper itself ends in exit.json, too."""
    try:
        return run(folder)
    except Exception as error:
        log.exception("the wrapper failed")
        if reserve.is_full(error):
            cause, sentence = exit_report.DISK_FULL, "The disk is full: the run could not be started."
        else:
            cause = exit_report.UNKNOWN
            sentence = f"The run could not be started: {type(error).__name__}: {redacted(str(error))}"
        failed = ExitReport(1, None, cause, sentence, exit_report.NEXT_STEP[cause])
        _write(folder, failed)
        return failed


def _start_next(runs_dir: Path) -> None:
    """Start the next run that waits in the queue, or the Playground's worker if no run does but a video; a failure of
    that is not this run's."""
    # Loaded only now: this process stays in memory as long as the run.
    from rewardfl_app.supervisor import preview, queue

    try:
        queue.advance(runs_dir)
    except Exception:
        log.exception("the next run of the queue was not started")
    try:
        preview.advance(runs_dir)
    except Exception:
        log.exception("the Playground's worker was not started")


if __name__ == "__main__":
    hide_secrets()
    sys.exit(main())
