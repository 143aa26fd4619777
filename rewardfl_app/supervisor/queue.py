"""The queue of a runs folder: runs that start by themselves, one after the other, when their devices are free.

No process keeps it: the wrapper of a run that ends, the app and the command line all call `advance`, and whoever comes
first starts the next run.
"""

from __future__ import annotations

import logging
from pathlib import Path

from rewardfl_app.runs import queue_file
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import device_lock, exit_report, launch, placement
from rewardfl_app.supervisor.run_state import is_active, state
from rewardfl_app.supervisor.supervisor import SupervisorError

log = logging.getLogger(__name__)


def queued(runs_dir: Path) -> list[RunFolder]:
    """The runs that wait, first to start first."""
    return queue_file.waiting(runs_dir)


def move(run: RunFolder, by: int) -> None:
    """Move a waiting run by so many places: -1 is one earlier; past an end it stays at the end.

    Raises SupervisorError when it does not wait.
    """
    runs_dir = run.path.parent
    with queue_file.lock(runs_dir):
        order = queued(runs_dir)
        place = _place(run, order)
        moved = order.pop(place)
        order.insert(max(0, place + by), moved)
        queue_file.write(runs_dir, order)


def remove(run: RunFolder) -> None:
    """Take a waiting run out of the queue: it counts as stopped, and resume starts it.

    Raises SupervisorError when it does not wait.
    """
    runs_dir = run.path.parent
    with queue_file.lock(runs_dir):
        order = queued(runs_dir)
        del order[_place(run, order)]
        write_json_atomic(run.exit, exit_report.never_started())
        queue_file.write(runs_dir, order)


def active(runs_dir: Path) -> list[RunFolder]:
    """The runs of this folder that go on, on this machine, newest first."""
    return [run for run in list_runs(runs_dir) if is_active(run)]


def advance(runs_dir: Path, wait: bool = True) -> RunFolder | None:
    """Start the runs that wait for nothing but this; returns the first of them, None when none was started.

    A run waits while another is active on one of its devices, or waits before it for one of them; so on one device they
    start in their order, one at a time.

    Costs one look at the folder while nothing waits. Without `wait`, nothing is done while another process starts a
    run or changes the order, for one who will ask again. Raises OSError.
    """
    runs_dir = Path(runs_dir).absolute()
    if not (runs_dir / queue_file.NAME).exists() or not _ready(runs_dir):
        return None
    with queue_file.lock(runs_dir, wait) as held:
        if not held:
            return None
        started, tried = [], set()
        while ready := [run for run in _ready(runs_dir) if run.id not in tried]:  # one that fails makes room
            tried.add(ready[0].id)
            if _start(ready[0]):
                started.append(ready[0])
        queue_file.write(runs_dir, queued(runs_dir))
    return started[0] if started else None


def _start(run: RunFolder) -> bool:
    """Start a waiting run; one that cannot be started fails and does not hold up the others."""
    try:
        with launch.lock(run), device_lock.claim(run, placement.of(run).devices):
            launch.spawn(run)
            return True
    except device_lock.DevicesBusy:  # somebody was quicker
        return False
    except (OSError, ValueError) as error:
        log.exception("run %s could not be started", run.id)
        sentence = f"The run could not be started: {getattr(error, 'strerror', None) or error}."
        next_step = exit_report.NEXT_STEP[exit_report.UNKNOWN]
        report = exit_report.ExitReport(1, None, exit_report.UNKNOWN, sentence, next_step)
        write_json_atomic(run.exit, report.as_dict())
        return False


def _ready(runs_dir: Path) -> list[RunFolder]:
    """The waiting runs whose devices are free, in their order."""
    waiting = queued(runs_dir)
    # Also those of which the state folder knows nothing, because it was removed.
    taken = {device for run in (active(runs_dir) if waiting else ()) for device in _devices(run)}
    ready = []
    for run in waiting:
        wanted = _devices(run)
        if not taken & set(wanted) and device_lock.holder(wanted) is None:
            ready.append(run)
        taken |= set(wanted)
    return ready


def _devices(run: RunFolder) -> tuple[str, ...]:
    try:
        return placement.of(run).devices
    except (OSError, ValueError):  # it will fail when its turn has come, and say why
        return (placement.CPU, *(f"gpu {name}" for name in placement.visible_gpus()))


def _place(run: RunFolder, order: list[RunFolder]) -> int:
    for place, other in enumerate(order):
        if other.id == run.id:
            return place
    raise SupervisorError(f"run {run.id} does not wait in the queue: it is {state(run).state}")
