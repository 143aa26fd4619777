"""The wrapper process of a run: `python -m rewardfl_app.supervisor.wrapper RUN_DIR`.

It starts the trainer, waits, writes exit.json and starts the next run of the queue. It is the only process that has to
outlive the page, so everything that must happen later happens here: a stop_now request and a signal to the wrapper both
end the trainer in stages (the request, which the trainer answers at the next step; SIGTERM to its whole process group;
SIGKILL to all that is left of the session).
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import yaml

from rewardfl_app.config.secrets import redacted
from rewardfl_app.runs import changes
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.quiet_output import hide_secrets
from rewardfl_app.runs.status import read_status
from rewardfl_app.supervisor import exit_report, process
from rewardfl_app.supervisor.command import train_command, train_environment

log = logging.getLogger(__name__)

LOG_TAIL_BYTES = 32_768
_CGROUP_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


@dataclass(frozen=True)
class StopStages:
    """Patience of the stages of a stop, in seconds."""

    after_request: float = 10.0
    after_terminate: float = 10.0
    poll: float = 0.2


# DeepSpeed's launcher gives its ranks 30 s after SIGTERM before it kills them itself.
LAUNCHER_STAGES = StopStages(after_terminate=35.0)


@dataclass
class _Signals:
    """Signals that reached the wrapper."""

    received: list[int] = field(default_factory=list)

    def note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received.append(number)


def run(folder: RunFolder, stages: StopStages | None = None) -> exit_report.ExitReport:
    """Run the trainer of `folder` to its end and write exit.json.

    Call it in the main thread of a process of its own.
    """
    signals = _Signals()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signals.note)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _name_itself(folder)
    kills_before = _out_of_memory_kills()
    log_start = folder.log.stat().st_size if folder.log.exists() else 0
    num_processes, hosts = _processes(folder)
    port = process.free_port()
    child = subprocess.Popen(
        train_command(folder, num_processes, port, hosts),
        stdin=subprocess.DEVNULL,
        cwd=folder.path,
        env=train_environment(num_processes, port, hosts),
        process_group=0,
    )
    patience = stages or (StopStages() if num_processes == 1 and hosts is None else LAUNCHER_STAGES)
    ended_by_wrapper = _wait(folder, child, signals, patience)
    # A trainer that crashed may leave children behind, which would hold memory and the GPU.
    _kill_rest(child.pid)
    status = read_status(folder)
    report = exit_report.explain(
        child.returncode,
        read_json(folder.failure),
        _log_tail(folder.log, log_start),
        final_state=status.state if status else None,
        step=status.step if status else None,
        total=status.total if status else None,
        phase=status.phase if status else None,
        stop_asked=_stop_asked(folder),
        out_of_memory_kill=_out_of_memory_kills() > kills_before,
        ended_by_wrapper=ended_by_wrapper,
    )
    write_json_atomic(folder.exit, report.as_dict())
    return report


def _wait(folder: RunFolder, child: subprocess.Popen[bytes], signals: _Signals, stages: StopStages) -> bool:
    """Wait for the trainer, ending it in stages when asked; returns whether a signal was sent to it."""
    terminate_at: float | None = None
    kill_at: float | None = None
    while True:
        try:
            child.wait(stages.poll)
            return kill_at is not None
        except subprocess.TimeoutExpired:
            now = time.monotonic()
        if terminate_at is None and _stop_asked(folder) == "stop_now":
            terminate_at = now + stages.after_request
        if signals.received and kill_at is None:
            terminate_at = now
        if terminate_at is not None and now >= terminate_at and kill_at is None:
            process.send_to_group(child.pid, signal.SIGTERM)
            kill_at = now + stages.after_terminate
        if kill_at is not None and now >= kill_at:
            _kill_rest(child.pid)


def _kill_rest(group: int) -> None:
    """SIGKILL to the trainer's group and to every other process of this session but the wrapper."""
    process.send_to_group(group, signal.SIGKILL)
    me = os.getpid()
    if os.getsid(0) != me:
        return
    process.send([pid for pid in process.members(process.describe(me, [])) if pid != me], signal.SIGKILL)


def _name_itself(folder: RunFolder) -> None:
    """Make sure process.json names this process, even if the one that started it died before writing it."""
    record = read_json(folder.process)
    if record is None or record.get("pid") != os.getpid():
        write_json_atomic(
            folder.process, process.describe(os.getpid(), sys.orig_argv, role="wrapper", started=time.time())
        )


def _processes(folder: RunFolder) -> tuple[int, Path | None]:
    """deepspeed.num_processes and hostfile of the run's settings, read without all that checks them."""
    deepspeed = yaml.safe_load(folder.config.read_text(encoding="utf-8"))["deepspeed"]
    for change in changes.read(folder):
        section, _, name = change.field.partition(".")
        if section == "deepspeed":
            deepspeed[name] = change.after
    hosts = deepspeed.get("hostfile")
    return int(deepspeed["num_processes"]), Path(hosts) if hosts else None


def _stop_asked(folder: RunFolder) -> str | None:
    """The strongest stop that was asked for in this attempt, whether the trainer answered it or not."""
    since = float((read_json(folder.process) or {}).get("started") or 0.0)
    requests = [read_json(path) or {} for path in folder.control.glob("[0-9]*.json")]
    kinds = {str(request.get("kind")) for request in requests if float(request.get("time") or 0.0) >= since}
    return next((kind for kind in ("stop_now", "stop_and_save") if kind in kinds), None)


def _log_tail(path: Path, start: int) -> str:
    """The end of the log, at most LOG_TAIL_BYTES of what was written from byte `start` on."""
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - LOG_TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")


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
    folder = RunFolder(parser.parse_args(arguments).run_dir)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s wrapper %(levelname)s %(message)s")
    try:
        report = _run_to_its_end(folder)
    finally:
        _start_next(folder.path.parent)
    log.info("%s: %s", report.cause, report.sentence)
    return 0 if report.cause in exit_report.GOOD_CAUSES else 1


def _run_to_its_end(folder: RunFolder) -> exit_report.ExitReport:
    """`run`; what goes wrong in the wrapper itself ends in exit.json, too."""
    try:
        return run(folder)
    except Exception as error:
        log.exception("the wrapper failed")
        sentence = f"The run could not be started: {type(error).__name__}: {redacted(str(error))}"
        next_step = exit_report.NEXT_STEP[exit_report.UNKNOWN]
        failed = exit_report.ExitReport(1, None, exit_report.UNKNOWN, sentence, next_step)
        write_json_atomic(folder.exit, failed.as_dict())
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
