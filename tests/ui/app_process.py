"""The real app in a child process, as a person starts it."""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
START_SECONDS = 60.0


class AppProcess:
    """`python launch_app.py --port 0 --no-browser`; use as a context."""

    def __init__(
        self,
        runs_dir: Path,
        *arguments: str,
        port: int = 0,
        log: Path | None = None,
        cwd: Path | None = None,
        **env: str,
    ) -> None:
        self.runs_dir = runs_dir
        command = [sys.executable, str(ROOT / "launch_app.py"), "--no-browser", "--port", str(port)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **env}
        self._log = open(log or runs_dir.parent / "app.log", "ab")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [*command, "--runs-dir", str(runs_dir), *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            cwd=cwd,
            text=True,
        )
        self.address = self._wait_for_address()
        self.port = int(self.address.rpartition(":")[2])

    def _wait_for_address(self) -> str:
        assert self.process.stdout is not None
        selector = selectors.DefaultSelector()
        selector.register(self.process.stdout, selectors.EVENT_READ)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and selector.select(timeout=end - time.monotonic()):
            line = self.process.stdout.readline()
            if not line:
                break
            if found := ADDRESS.search(line):
                return found.group(0)
        if self.process.poll() is None:
            self.kill()
        raise AssertionError(f"the app did not start: {Path(self._log.name).read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """End it the hard way, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._log.close()
        if self.process.stdout:
            self.process.stdout.close()

    def end(self) -> int:
        """End it as a shutdown does; returns its exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def __enter__(self) -> AppProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
