"""The app as a person starts it: a process of its own, until its page answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rewardfl_app.bench.case import CaseFailed

_ROOT = Path(__file__).resolve().parents[2]
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
_PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Start:
    """`seconds` from the start of the process to the page; `num_torch`: files of torch among what its process has
    mapped into memory, None where the system does not tell (it is told by Linux)."""

    seconds: float
    num_torch: int | None


def command() -> list[str]:
    """Argument list of the app: the file in a checkout, what that file does in an installed package."""
    launcher = _ROOT / "launch_app.py"
    program = "from rewardfl_app.ui.launching import command; command()"
    return [sys.executable, *([str(launcher)] if launcher.is_file() else ["-c", program])]


@contextmanager
def running(runs_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The app over a runs folder: its process, and the address of its page, which it serves now. It is ended after
    the block. Raises CaseFailed with its last line where it does not come so far."""
    words = [*command(), "--no-browser", "--port", "0", "--runs-dir", str(runs_dir)]
    environment = {name: value for name, value in os.environ.items() if name != "REWARDFL_AUTH"}
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True, env=environment
        )
        watchdog = threading.Timer(_PATIENCE, child.kill)
        watchdog.start()
        try:
            address = _address(child)
            watchdog.cancel()
            if address is not None:
                yield child, address
                return
        finally:
            watchdog.cancel()
            child.kill()
            child.communicate()
        said.seek(0)
        lines = [line for line in said.read().splitlines() if line.strip()]
    raise CaseFailed(lines[-1].removeprefix("error: ") if lines else "the app ended before its page answered")


def start(runs_dir: Path) -> Start:
    """Starts the app over a runs folder, asks for its page once and ends it. Raises CaseFailed with its last line."""
    began = time.perf_counter()
    with running(runs_dir) as (child, address):
        with urllib.request.urlopen(address, timeout=_PATIENCE) as page:
            page.read()
        return Start(time.perf_counter() - began, _torch_files(child.pid))


def _address(child: subprocess.Popen[str]) -> str | None:
    """What the app prints when it serves its page; None when it ends before."""
    assert child.stdout is not None
    return next((found[0] for line in child.stdout if (found := _ADDRESS.search(line))), None)


def _torch_files(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return None
    files = {words[5] for line in lines if len(words := line.split(maxsplit=5)) == 6}
    return sum("/torch/" in name or Path(name).name.startswith("libtorch") for name in files)
