"""A day in small: `python tests/measure_day.py [--rows 20000] [--samples 2000] [--minutes 5] [--json FILE]`.

The real app over a fresh runs folder, a run of the real trainer without networks (day_trainer.py) under its real
wrapper, and two open pages: Monitor, zoomed, and one that goes back and forth between Faces and Compare. Prints how
large app, trainer, wrapper and pages are as the run grows, and what fifty pages leave behind that were opened and
closed. The sizes are of this machine; that nothing grows is what counts.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fake_runs
from process_size import Size, children
from ui.app_process import AppProcess
from ui.chromium import ARGUMENTS, program

from rewardfl_app.config import validation
from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.status import read_status
from rewardfl_app.supervisor import supervisor
from rewardfl_app.supervisor.command import TRAINER_VARIABLE

log = logging.getLogger("measure_day")

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
VIDEOS = 5  # of an evaluation
EVERY = 4.0  # seconds between two readings
COLUMNS = {
    "step": "step",
    "app_resident": "app RSS",
    "app_own": "app USS",
    "app_handles": "fds",
    "app_threads": "thr",
    "trainer_resident": "trainer RSS",
    "trainer_own": "trainer USS",
    "trainer_handles": "fds",
    "wrapper_resident": "wrapper RSS",
    "wrapper_handles": "fds",
    "monitor_heap": "monitor JS",
    "monitor_nodes": "nodes",
    "other_heap": "other JS",
    "other_nodes": "nodes",
    "tick_ms": "tick ms",
}

Reading = dict[str, float]


class Page:
    """An open page of the app: how large it is and how long its ticks take."""

    def __init__(self, browser: Any, address: str) -> None:
        self._ticks: list[float] = []
        self.page = browser.new_page(viewport={"width": 1440, "height": 900})
        self.page.set_default_timeout(60_000)
        self.page.on("requestfinished", self._finished)
        self.page.goto(address)
        self.page.wait_for_selector(".hd-brand")
        self._session = self.page.context.new_cdp_session(self.page)
        self._session.send("Performance.enable")

    def size(self) -> tuple[float, float]:
        """Used kB of the heap after its garbage was collected, and the number of nodes."""
        self._session.send("HeapProfiler.collectGarbage")
        found = {each["name"]: each["value"] for each in self._session.send("Performance.getMetrics")["metrics"]}
        return found["JSHeapUsedSize"] / 1000, found["Nodes"]

    def tick_ms(self) -> float:
        """Median time to the answer of the ticks since the last call."""
        ticks, self._ticks = self._ticks, []
        return statistics.median(ticks) if ticks else float("nan")

    def open(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def _finished(self, request: Any) -> None:
        if request.method == "POST" and request.url.endswith("/run/predict"):
            self._ticks.append(request.timing["responseStart"] - request.timing["requestStart"])


def start(folder: Path, rows: int, num_samples: int, minutes: float) -> RunFolder:
    """Start the run under its wrapper."""
    eval_steps = max(1, rows * VIDEOS // num_samples)
    mapping = fake_runs.mapping(folder / "files")
    mapping["train"] |= {"max_steps": rows, "save_steps": max(1, rows // 40)}
    mapping["evaluation"] = {"eval_steps": eval_steps, "num_samples": VIDEOS}
    mapping["deepspeed"] = {"share_devices": True}  # nothing is computed
    stand_in = [sys.executable, str(Path(__file__).with_name("day_trainer.py")), str(60 * minutes)]
    os.environ[TRAINER_VARIABLE] = shlex.join(stand_in)
    return supervisor.start(validation.build(mapping), folder / "runs", name="a day")


def read(app: AppProcess, run: RunFolder, monitor: Page, other: Page) -> Reading | None:
    """One reading; None once the trainer has ended."""
    status = read_status(run)
    wrapper = int((read_json(run.process) or {})["pid"])
    found: Reading = {"time": time.time(), "step": float(status.step if status else 0)}
    try:
        processes = {"app": app.process.pid, "wrapper": wrapper, "trainer": children(wrapper)[0]}
        sizes = {name: Size.of(pid) for name, pid in processes.items()}
    except (OSError, IndexError, KeyError):
        return None
    for name, size in sizes.items():
        found |= {f"{name}_resident": size.resident_kb, f"{name}_own": size.own_kb}
        found |= {f"{name}_handles": size.handles, f"{name}_threads": size.threads}
    for name, page in (("monitor", monitor), ("other", other)):
        found[f"{name}_heap"], found[f"{name}_nodes"] = page.size()
    found["tick_ms"] = monitor.tick_ms()
    return found


def follow(app: AppProcess, run: RunFolder, browser: Any) -> list[Reading]:
    """Readings from the first step to the last, with a request to the trainer and a click on the page in between."""
    monitor, other = (Page(browser, f"{app.address}/#{name}?run={run.id}") for name in ("monitor", "faces"))
    monitor.page.wait_for_selector("[data-chart=loss] path.ch-line")
    monitor.page.get_by_label("Zoom in").click()
    readings: list[Reading] = []
    for number in range(10**9):
        found = read(app, run, monitor, other)
        if found is None:
            break
        readings.append(found)
        rate = 1e-4 * (1 + number % 5)
        if not run.exit.exists():
            control.request(run, "set_field", field="train.learning_rate", value=rate)
        other.open("Compare" if number % 2 else "Faces")
        monitor.page.wait_for_timeout(1000 * EVERY)
    for page in (monitor, other):
        page.page.close()
    return readings


def closed_pages(app: AppProcess, browser: Any, run: RunFolder, num_pages: int) -> dict[str, Any]:
    """The size of the app before, and after pages were opened and closed, one after the other, in two halves."""
    found = []
    for half in (0, num_pages // 2, num_pages // 2):
        for _ in range(half):
            page = Page(browser, f"{app.address}/#monitor?run={run.id}")
            page.page.wait_for_selector("[data-chart=loss] path.ch-line")
            page.page.close()
        time.sleep(4)
        found.append(Size.of(app.process.pid))
    return {name: [getattr(size, name) for size in found] for name in ("resident_kb", "own_kb", "handles", "threads")}


def slope(readings: Sequence[Reading], name: str) -> float:
    """Growth per 1,000 rows over the last three quarters of the rows."""
    late = [r for r in readings if r["step"] >= readings[-1]["step"] / 4]
    return 1000 * statistics.linear_regression([r["step"] for r in late], [r[name] for r in late]).slope


def table(readings: Sequence[Reading]) -> str:
    """The readings nearest to the shares of the run."""
    last = readings[-1]["step"]
    chosen = [min(readings, key=lambda r: abs(r["step"] - share * last)) for share in SHARES]
    lines = ["  ".join(f"{title:>11}" for title in COLUMNS.values())]
    lines += ["  ".join(f"{reading[name]:>11,.0f}" for name in COLUMNS) for reading in chosen]
    return "\n".join(lines)


def main() -> None:
    """Let a day pass, and say what it took."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=2_000)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the run takes (default 5)")
    parser.add_argument("--pages", type=int, default=50, help="pages opened and closed at the end (default 50)")
    parser.add_argument("--json", type=Path, help="also write all readings to this file")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "runs").mkdir()
        with AppProcess(folder / "runs") as app:
            browser = playwright.chromium.launch(executable_path=program(), args=list(ARGUMENTS))
            run = start(folder, options.rows, options.samples, options.minutes)
            try:
                readings = follow(app, run, browser)
                closed = closed_pages(app, browser, run, options.pages)
            finally:
                if not run.exit.exists():
                    supervisor.stop(run, now=True)
                supervisor.wait(run)
            browser.close()
        ended = read_json(run.exit) or {}
        log.info("The run: %s; kB where nothing else is said\n\n%s\n", ended.get("cause"), table(readings))
        slopes = {key: slope(readings, key) for key in COLUMNS if key.endswith(("_resident", "_own", "_heap"))}
        for key, value in slopes.items():
            log.info("%-18s %+8.1f kB per 1,000 rows", key, value)
        log.info("app, %d pages opened and closed in two halves: %s", options.pages, closed)
        if options.json:
            content = {"rows": options.rows, "samples": options.samples, "slopes": slopes, "closed_pages": closed}
            options.json.write_text(json.dumps({**content, "readings": readings}, indent=1))


if __name__ == "__main__":
    main()
