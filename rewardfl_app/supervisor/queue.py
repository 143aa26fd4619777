"""The queue of a runs folder: runs that start by themselves, one after the other, when their devices are free.

No process keeps it: the wrapper of a run that ends, the app and the command line all call `advance`, and whoever comes
first starts the next run.
"""

from __future__ import annotations

import logging
from pathlib import Path

from rewardfl_app.config import devices
from rewardfl_app.runs import queue_file
from rewardfl_app.runs.events import log_event, read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.status import Status, read_status, write_status
from rewardfl_app.supervisor import device_lock, exit_report, launch, placement
from rewardfl_app.supervisor.run_state import is_active, state
from rewardfl_app.supervisor.supervisor import SupervisorError

log = logging.getLogger(__name__)

_PUT_BACK_AT_MOST = 3


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


def put_back(run: RunFolder) -> bool:
    """Let a run wait again, first of all, of whose start nothing came: what started it was killed, or its wrapper,
    before the trainer said its first word. Whether it does.

    Inside the locks of the queue and of the run; a few times only, lest the start itself is what kills. Raises OSError.
    """
    status = read_status(run)
    if status is None or not _came_to_nothing(run, status):
        return False
    if sum(event["kind"] == "put_back" for event in read_events(run)) >= _PUT_BACK_AT_MOST:
        return False
    runs_dir = run.path.parent
    log_event(run, "put_back", "What started the run was killed before it began; it waits again, first in the queue.")
    write_status(run, Status("queued", total=status.total))
    queue_file.write(runs_dir, [run, *queued(runs_dir)])
    run.process.unlink(missing_ok=True)  # last: cut off before it, this is done again
    return True


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
        for run in list_runs(runs_dir):  # before those that stand behind it
            status = read_status(run)
            if status is not None and _came_to_nothing(run, status):
                with launch.lock(run, wait=False) as alone:
                    _ = alone and put_back(run)
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
            launch.spawn(run, waited=True)
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


def _came_to_nothing(run: RunFolder, status: Status) -> bool:
    """Whether the run was started from the queue and all its processes are gone before the trainer's first word."""
    if status.state not in ("queued", "starting") or run.exit.exists() or run.failure.exists():
        return False
    return bool((read_json(run.process) or {}).get("waited")) and state(run).state == "lost"


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
        return (placement.CPU, *(f"gpu {name}" for name in devices.visible_gpus()))


def _place(run: RunFolder, order: list[RunFolder]) -> int:
    for place, other in enumerate(order):
        if other.id == run.id:
            return place
    raise SupervisorError(f"run {run.id} does not wait in the queue: it is {state(run).state}")
