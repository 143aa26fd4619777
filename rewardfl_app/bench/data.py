"""A large metadata.csv from its first look to its batches: how long each takes, and how often a clip is decoded.

Every row has a file of its own name; a few clips stand behind all of them, so what is kept by content is found.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

from rewardfl_app.bench.report import Cell, Mark, Progress, Report
from rewardfl_app.bench.workload import changed
from rewardfl_app.config.schema import Config
from rewardfl_app.data import inspection, manifest, video
from rewardfl_app.data.dataset import Clip, ClipDataset, Order
from rewardfl_app.data.findings import Findings, RowReport
from rewardfl_app.data.image import Pixels
from rewardfl_app.data.manifest import RowProblem
from rewardfl_app.models import wan
from rewardfl_app.rendering.clips import ClipEncoder
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.rendering.store import Store
from rewardfl_app.runs.content import file_digest
from rewardfl_app.training.ranks import Ranks
from rewardfl_app.training.samples import SampleSource

NUM_ROWS, NUM_CLIPS = 10_000, 8
NUM_BATCHES = 100
_PAGE = 24  # rows that the page shows at once
_SAMPLES = 9  # frames of a clip in which `data-check` looks for faces
_SECONDS = 10.0
_COLUMNS = ("decodes of a clip, at most", "what", "seconds", "ms a row", "rows", "decodes", "found again")

Found = TypeVar("Found")


def measure(config: Config, progress: Progress) -> Report:
    """The clips of the configuration, each under many names. Raises DataError, PackError, WeightsError, ConfigError."""
    with tempfile.TemporaryDirectory(prefix="rewardfl-data-") as folder:
        return _Measured(config, progress, Path(folder)).report()


def make_table(source: Path, folder: Path, num_rows: int, num_clips: int) -> Path:
    """A metadata.csv of `num_rows` rows with a file each, in `folder`: hard links to the first clips of another."""
    rows = manifest.read(source)[:num_clips]
    kept = [Path(shutil.copyfile(row.video, folder / f"clip_{n}{row.video.suffix}")) for n, row in enumerate(rows)]
    table = folder / "metadata.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "prompt"))
        for number in range(num_rows):
            clip = kept[number % len(kept)]
            name = f"row_{number:06d}{clip.suffix}"
            os.link(clip, folder / name)
            writer.writerow((name, rows[number % len(kept)].prompt))
    return table


class CountedClips(ClipDataset):
    """Clips that count how often each content was decoded."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.decoded: Counter[str] = Counter()

    def __getitem__(self, index: int) -> Clip:
        self.decoded[file_digest(self.rows[index].video)] += 1
        return super().__getitem__(index)


class _Measured:
    """The rows of the report, one after the other."""

    def __init__(self, config: Config, progress: Progress, folder: Path) -> None:
        self._config = changed(
            config,
            train={"train_batch_size": config.train.per_device_train_batch_size, "gradient_accumulation_steps": 1},
            deepspeed={"num_processes": 1, "context_parallel": 1},
        )
        self._progress = progress
        self._folder = folder
        self._findings = folder / "findings.jsonl"
        self._report = Report("data", _COLUMNS)

    def report(self) -> Report:
        """Everything that is measured."""
        self._progress("making the table", 0, 1)
        table = make_table(Path(self._config.data.metadata_path or ""), self._folder, NUM_ROWS, NUM_CLIPS)
        self._manifest(table)
        self._page(table, "the page's first view")
        self._data_check(table, "every clip looked at (data-check)", 1)
        self._data_check(table, "the same again", 0)
        self._page(table, "the page's view after it")
        self._batches(table)
        self._report.notes = [
            f"{NUM_ROWS} rows, each with a file of its own name, of {NUM_CLIPS} clips. decodes: of whole clips, by "
            "content; found again: rows that needed none. check decodes the first frame of every file, the page "
            "those of the rows it shows. data-check: without what a face pack takes for the clips it has not seen."
        ]
        self._report.parameters = {"rows": NUM_ROWS, "clips": NUM_CLIPS, "batches": NUM_BATCHES}
        return self._report

    def _manifest(self, table: Path) -> None:
        rows, reading = self._timed("the table read", lambda: manifest.read(table))
        self._add("the table read", reading, len(rows))
        problems, opening = self._timed("every file opened (check)", lambda: manifest.row_problems(rows, 1))
        self._add("every file opened (check)", opening, len(rows))
        self._report.marks += [
            Mark("seconds in which the table is read and every file opened", reading + opening, _SECONDS),
            Mark("rows with a problem", len(problems), 0),
        ]

    def _page(self, table: Path, name: str) -> None:
        """What lies under the list of clips on the Train page."""

        def look() -> int:
            rows, _ = manifest.read_usable(table)
            known = Findings(self._findings)
            found = [known.find(row) for row in rows]
            for row in rows[:_PAGE]:
                video.read(row.video, 1)
            return len(found)

        rows, seconds = self._timed(name, look)
        self._add(name, seconds, rows)

    def _data_check(self, table: Path, name: str, limit: int) -> None:
        decoded: Counter[str] = Counter()

        def look(told: RowReport, first: Pixels | None, frames: Pixels) -> list[RowProblem]:
            decoded[file_digest(told.video)] += 1
            return []

        def check() -> int:
            return len(inspection.inspect(table, look, _SAMPLES, findings=Findings(self._findings)).rows)

        rows, seconds = self._timed(name, check)
        self._add(name, seconds, rows, decoded, limit)

    def _batches(self, table: Path) -> None:
        self._progress("loading", 0, 1)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        config, rows = self._config, manifest.read(table)
        scorer, model = Scorer.load(config.reward, device), wan.load(config.model, device)
        store, order = Store(self._folder / "cache", config.data.cache_gb), Order(len(rows), config.train.seed)
        for name, limit in (("batches dealt, the first run", 1), ("batches dealt, the next run", 0)):
            data = CountedClips.of(rows, config)
            clips = ClipEncoder.of(model, data, scorer, config, store, with_clean=config.reward.anchor_weight > 0)
            source = SampleSource(clips, [row.index for row in rows], order, config, Ranks())
            batches = [self._timed(name, partial(source.take, number)) for number in range(NUM_BATCHES)]
            times = [seconds for _, seconds in batches]
            self._add(name, sum(times), sum(len(samples.rows) for samples, _ in batches), data.decoded, limit)
            self._add(f"{name}: median batch", median(times), len(batches[0][0].rows))

    def _timed(self, what: str, work: Callable[[], Found]) -> tuple[Found, float]:
        self._progress(what, 0, 1)
        started = time.perf_counter()
        found = work()
        return found, time.perf_counter() - started

    def _add(
        self, name: str, seconds: float, rows: int, decoded: Counter[str] | None = None, limit: int | None = None
    ) -> None:
        """`decoded`: how often each content was; at most `limit` times each is the mark."""
        row: list[Cell] = [None, name, seconds, 1000 * seconds / rows, rows, None, None]
        if decoded is not None and limit is not None:
            most, count = max(decoded.values(), default=0), decoded.total()
            row[0], row[5:] = most, [count, rows - count]
            self._report.marks.append(Mark(f"{name}: decodes of a clip", most, limit))
        self._report.rows.append(row)
