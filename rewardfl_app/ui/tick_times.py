"""What `bench tick` runs, in a process that is like the app's.

`python -m rewardfl_app.ui.tick_times RUN_DIR STEP REPEATS PAGES` prints JSON: [[what, pages, [milliseconds], bytes sent
to one at most], ...]. RUN_DIR is the living run of a folder of `bench.full_folder`, at STEP.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rewardfl_app.bench.full_folder import MadeUpRun
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.ui.session import PARTS, Session

Times = tuple[str, int, list[float], int]


def sent(session: Session) -> dict[str, Any]:
    """One look of a page: the parts that it is sent."""
    values = zip(PARTS, session.update(), strict=True)
    return {name: value for name, value in values if not (isinstance(value, dict) and "__type__" in value)}


def measure(runs_dir: Path, living: MadeUpRun, num_steps: int, repeats: int, num_pages: int) -> Iterator[Times]:
    """Times in ms of the looks of pages at a full folder (see `bench.full_folder`), whose living run is at `num_steps`;
    the first looks are those of a process that has read nothing yet."""
    page = Session(runs_dir)
    yield _timed("the first page's first look", [page])
    yield _timed("another page's first look", [Session(runs_dir)])
    step = num_steps

    def one_step() -> None:
        nonlocal step
        step += 1
        living.step(step)

    def one_evaluation() -> None:
        one_step()
        living.evaluate(step)

    def nothing() -> None:
        pass

    news: dict[str, tuple[Callable[[], None], int]] = {
        "nothing is new": (nothing, repeats),
        "a step is new": (one_step, repeats),
        "an evaluation is new": (one_evaluation, max(1, repeats // 10)),
    }
    for what, (happens, times) in news.items():
        yield _timed(f"one page: {what}", [page], happens, times)
    pages = [Session(runs_dir) for _ in range(num_pages)]
    for each in pages:
        each.update()
    for what, (happens, times) in news.items():
        yield _timed(f"{num_pages} pages at once: {what}", pages, happens, times)


def _timed(what: str, pages: list[Session], happens: Callable[[], None] = lambda: None, repeats: int = 1) -> Times:
    """All pages look at the same time, each in a thread, as Gradio has it; it has taken until the last one is done."""
    milliseconds, num_bytes = [], 0
    with ThreadPoolExecutor(len(pages)) as pool:
        list(pool.map(lambda page: None, pages))  # a thread's start is not a look
        for _ in range(repeats):
            happens()
            began = time.perf_counter()
            parts = list(pool.map(sent, pages))
            milliseconds.append(1000 * (time.perf_counter() - began))
            num_bytes = max(num_bytes, len(json.dumps(parts[0])))
    return what, len(pages), milliseconds, num_bytes


def main(arguments: list[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m rewardfl_app.ui.tick_times")
    parser.add_argument("run_dir", type=Path)
    for name in ("step", "repeats", "pages"):
        parser.add_argument(name, type=int)
    options = parser.parse_args(arguments)
    living = MadeUpRun(RunFolder(options.run_dir), 2 * options.step)
    json.dump(list(measure(options.run_dir.parent, living, options.step, options.repeats, options.pages)), sys.stdout)


if __name__ == "__main__":
    main()
