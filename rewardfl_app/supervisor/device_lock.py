"""One run at a time on a device, over every runs folder of this person on this machine.

The state folder has a file per device with the runs that have it: one, or several that were told to share it. Whether
they still do is told by their own processes, so nothing needs to be taken back after a crash.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rewardfl_app.runs import file_lock
from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor.run_state import is_active

STATE_VARIABLE = "REWARDFL_STATE_DIR"
_LOCK = ".lock"


class DevicesBusy(RunError):
    """Another run trains on a device that was asked for; the message names both and says what to do."""

    def __init__(self, device: str, holder: RunFolder, runs_dir: Path) -> None:
        self.holder = holder
        where = "this machine's processors" if device == "cpu" else device.replace("gpu", "GPU", 1)
        folder = "" if holder.path.parent == runs_dir else f" (of {holder.path.parent})"
        super().__init__(
            f"Run {holder.id}{folder} trains on {where}: add this run to the queue, stop that one, or name other "
            "devices in deepspeed.devices (deepspeed.share_devices starts it all the same)."
        )


def holder(devices: Sequence[str]) -> tuple[str, RunFolder] | None:
    """The first of these devices that a living run trains on, and that run; None when all are free."""
    folder = state_folder()
    return next(((device, run) for device in devices for run in _holders(folder, device)), None)


@contextmanager
def claim(run: RunFolder, devices: Sequence[str], share: bool = False) -> Iterator[None]:
    """Give the devices to a run whose process is started inside; with `share` beside those that have them.

    Raises DevicesBusy where another run has one of them, OSError.
    """
    folder = state_folder()
    with file_lock.held(folder / _LOCK):
        others = {device: [other for other in _holders(folder, device) if other != run] for device in devices}
        taken = next(((device, runs[0]) for device, runs in others.items() if runs), None)
        if taken is not None and not share:
            raise DevicesBusy(*taken, run.path.parent)
        for device, runs in others.items():
            content = {"device": device, "runs": [other.path for other in (*runs, run)]}
            write_json_atomic(folder / _file_name(device), content)
        yield


def state_folder() -> Path:
    """The folder of what this person's runs on this machine share: private, and made where it is missing.

    REWARDFL_STATE_DIR, else below XDG_STATE_HOME or ~/.local/state; where that cannot be written, below the folder of
    temporary files. Raises OSError.
    """
    named = os.environ.get(STATE_VARIABLE)
    if named:
        return _made(Path(named))
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    try:
        return _made(Path(home) / "rewardfl" / socket.gethostname())
    except OSError:
        return _made(Path(tempfile.gettempdir()) / f"rewardfl-{os.getuid()}")


def _holders(folder: Path, device: str) -> list[RunFolder]:
    """The living runs that have a device."""
    paths = (read_json(folder / _file_name(device)) or {}).get("runs")
    named = [RunFolder(Path(path)) for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
    return [run for run in named if is_active(run)]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    # In a folder that everybody may write to, somebody else may have made it first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written")
    return folder


def _file_name(device: str) -> str:
    plain = "".join(c if c.isalnum() else "-" for c in device)[:40]
    return f"{plain}-{hashlib.sha256(device.encode()).hexdigest()[:8]}.json"
