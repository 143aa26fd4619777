"""Run the inference process, which loads the weights, and pass on what it says to a person."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from rewardfl_app.runs.folder import RunError
from rewardfl_app.supervisor.command import inference_command, package_environment


class InferenceError(RunError):
    """The inference process failed; the message is what it said, `exit_code` 2 when its input was at fault, else 1."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


_WORK = {"score": "Scoring", "data-check": "Checking the data", "export": "The export"}
_WORK.update(dict.fromkeys(("memory", "gradients", "step"), "Measuring"))
_LOOK_EVERY = 0.25  # seconds


def run(
    *arguments: str,
    while_running: Callable[[], None] | None = None,
    command: Callable[..., list[str]] | None = None,
) -> None:
    """Run `python -m rewardfl_app.inference ARGUMENTS` and wait; `while_running` is called a few times a second.

    `command` makes the argument list of another process of the same manners, from the arguments.

    Raises InferenceError with its errors, else with its last line.
    """
    command_line: list[str] = (command or inference_command)(*arguments)
    with tempfile.NamedTemporaryFile(prefix="rewardfl-inference-", suffix=".log", delete=False) as log:
        path = Path(log.name)
        with subprocess.Popen(command_line, stdin=subprocess.DEVNULL, stderr=log, env=package_environment()) as ended:
            try:
                _wait(ended, while_running)
            except BaseException:  # Ctrl-C: nobody would read what it goes on to find
                ended.kill()
                path.unlink()
                raise
    if ended.returncode == 0:
        path.unlink()
        return
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    told = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    if told:
        path.unlink()
        raise InferenceError(" ".join(told), 2 if ended.returncode == 2 else 1)
    last = lines[-1] if lines else f"it ended with code {ended.returncode}"
    raise InferenceError(f"{_WORK.get(arguments[0], 'Rendering')} failed: {last} (details in {path})", 1)


def _wait(child: subprocess.Popen[bytes], while_running: Callable[[], None] | None) -> None:
    if while_running is None:
        child.wait()
        return
    while True:
        try:
            child.wait(_LOOK_EVERY)
            return
        except subprocess.TimeoutExpired:
            while_running()
