"""What an open page costs: milliseconds of its looks at a runs folder as months leave it, and of its ticks through the
app."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from rewardfl_app.bench import app_process, full_folder
from rewardfl_app.bench.case import CaseFailed
from rewardfl_app.bench.full_folder import MadeUpRun
from rewardfl_app.bench.report import Mark, Progress, Report
from rewardfl_app.config.schema import Config

REPEATS = 100
PAGES = 8
_TICK_MS = 50.0
_COLUMNS = ("of the mark", "what", "ms of a page", "ms until all have it", "the slowest", "looks", "kB sent")
Times = tuple[str, int, list[float], int]  # what, pages, milliseconds until all have it, bytes sent to one at most


def measure(config: Config, progress: Progress) -> Report:
    """A made-up folder, looked at by a fresh process like the app's, then by the app itself; the configuration does not
    matter. Raises CaseFailed."""
    steps = full_folder.NUM_STEPS
    sizes = {"runs": full_folder.NUM_RUNS, "steps": steps, "samples": full_folder.NUM_SAMPLES}
    with tempfile.TemporaryDirectory(prefix="rewardfl-tick-", ignore_cleanup_errors=True) as folder:
        progress("writing the folder", 0, 3)
        living = full_folder.write(Path(folder), sizes["runs"], steps, sizes["samples"])
        progress("looking at it", 1, 3)
        found = _looks(living, steps)
        progress("looking at it through the app", 2, 3)
        found += _through_the_app(Path(folder), living, 2 * steps)
    report = Report("tick", _COLUMNS, parameters={**sizes, "repeats": REPEATS, "pages": PAGES})
    for what, num_pages, milliseconds, num_bytes in found:
        middle = statistics.median(milliseconds)
        each = middle / num_pages
        numbers = [each, middle, max(milliseconds), len(milliseconds), num_bytes / 1000]
        report.rows.append([each / _TICK_MS, what, *numbers])
        if len(milliseconds) > 1:
            report.marks.append(Mark(f"ms of a page's tick, median: {what}", each, _TICK_MS))
    report.notes.append(
        f"{sizes['runs']} runs of {steps} steps; the newest goes on, with {sizes['samples']} samples. A look: all that "
        "the server does for a tick before Gradio sends it. Several pages look at the same time, each in a thread, and "
        "share the processor. Through the app: from a request to the end of its answer. kB sent: to one page, at most."
    )
    return report


def _looks(living: MadeUpRun, step: int) -> list[Times]:
    """In another process: the pages' package lies above this one, and is not imported."""
    words = [str(living.folder.path), *(str(number) for number in (step, REPEATS, PAGES))]
    command = [sys.executable, "-m", "rewardfl_app.ui.tick_times", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise CaseFailed(lines[-1] if lines else f"the looking process ended with code {done.returncode}")
    return [(what, pages, times, num_bytes) for what, pages, times, num_bytes in json.loads(done.stdout)]


def _through_the_app(runs_dir: Path, living: MadeUpRun, step: int) -> list[Times]:
    """The ticks of one page, as its timer asks for them over one connection."""
    with app_process.running(runs_dir) as (_, address):
        connection = HTTPConnection(address.removeprefix("http://"))
        connection.request("GET", "/config")
        pages: dict[str, Any] = json.loads(connection.getresponse().read())
        tick = next(
            each["id"] for each in pages["dependencies"] if any(event == "tick" for _, event in each["targets"])
        )
        asked = json.dumps({"data": [{"run": None}], "fn_index": tick, "session_hash": "bench"})
        headers = {"Content-Type": "application/json", "Origin": address}

        def timed(what: str, repeats: int, happens: Callable[[int], None]) -> Times:
            milliseconds, num_bytes = [], 0
            for turn in range(repeats):
                happens(turn)
                began = time.perf_counter()
                connection.request("POST", "/gradio_api/run/predict", asked, headers)
                answer = connection.getresponse()
                num_bytes = max(num_bytes, len(answer.read()))
                milliseconds.append(1000 * (time.perf_counter() - began))
                if answer.status != 200:
                    raise CaseFailed(f"the app answered a tick with {answer.status} {answer.reason}")
            return f"through the app: {what}", 1, milliseconds, num_bytes

        return [
            timed("a page's first look", 1, lambda turn: None),
            timed("nothing is new", REPEATS, lambda turn: None),
            timed("a step is new", REPEATS, lambda turn: living.step(step + turn)),
        ]
