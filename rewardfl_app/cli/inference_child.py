"""Run the inference process, which loads the weights, and pass on what it says to a person."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from rewardfl_app.runs.folder import RunError
from rewardfl_app.supervisor.command import inference_command, package_environment


class InferenceError(RunError):
    """The inference process failed; the message is what it said, `exit_code` 2 when its input was at fault, else 1."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run(*arguments: str) -> None:
    """Run `python -m rewardfl_app.inference ARGUMENTS` and wait.

    Raises InferenceError with its errors, else with its last line.
    """
    with tempfile.NamedTemporaryFile(prefix="rewardfl-inference-", suffix=".log", delete=False) as log:
        path = Path(log.name)
        ended = subprocess.run(
            inference_command(*arguments), stdin=subprocess.DEVNULL, stderr=log, env=package_environment(), check=False
        )
    if ended.returncode == 0:
        path.unlink()
        return
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    if told:
        path.unlink()
        raise InferenceError(" ".join(told), 2 if ended.returncode == 2 else 1)
    last = lines[-1] if lines else f"it ended with code {ended.returncode}"
    raise InferenceError(f"Rendering failed: {last} (details in {path})", 1)
