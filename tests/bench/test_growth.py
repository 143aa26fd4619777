"""The bench of growth: exponents of known costs, the sizes that grow, and the whole of it at the smallest sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardfl_app.bench import case, growth, trained_run
from rewardfl_app.bench.case import Measured
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest, video
from rewardfl_app.runs.folder import RunFolder


def test_the_exponent_of_known_costs() -> None:
    sizes = [1, 2, 4, 8]
    assert growth.exponent(sizes, [3.0 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert growth.exponent(sizes, [7.0] * 4) == pytest.approx(0)
    assert growth.exponent([1, 2], [2.0, 1.0]) == pytest.approx(-1)
    assert 0 < growth.exponent(sizes, [1.0 + size for size in sizes]) < 1  # what is done once hides growth
    assert growth._local(sizes, [1, 2, 8, 8], 0) is None and growth._local(sizes, [1, 2, 8, 8], 2) == pytest.approx(2)


def test_short_clips_go_back_and_forth(pocket: Config, tmp_path: Path) -> None:
    path = growth.lengthened(pocket, tmp_path, 40, 2)
    rows = manifest.read(path)
    given = manifest.read(Path(pocket.data.metadata_path or ""))
    assert [row.prompt for row in rows] == [row.prompt for row in given[:2]]
    frames = video.read(rows[0].video).astype(float)
    assert len(frames) == 40
    for there, back in ((1, 31), (8, 24), (15, 17), (4, 36)):
        assert np.abs(frames[there] - frames[back]).mean() < 4
    assert np.abs(frames[0] - frames[16]).mean() > 4


def test_one_size_grows_at_a_time(pocket: Config) -> None:
    base = growth._base(pocket, Path(pocket.data.metadata_path or ""))
    by_name = {group.name: [group.settings(size) for size in group.sizes] for group in growth.groups(base)}
    steps, frames, pixels, videos = by_name.values()
    assert [c.sampling.final_timestep - c.sampling.mid_timestep + 1 for c in steps] == [1, 2, 4, 8]
    assert [c.data.num_frames for c in frames] == [5, 9, 17, 33]
    assert [(c.data.height, c.data.width) for c in pixels] == [(64, 64), (96, 96), (128, 128), (192, 192)]
    assert [c.train.train_batch_size for c in videos] == [1, 2, 4]
    assert all(c.data.num_frames == 9 for c in [*steps, *pixels, *videos])
    assert all(c.deepspeed.num_processes == 1 for group in by_name.values() for c in group)
    tokens = [group.tokens for group in growth.groups(base)]
    assert tokens[1] is not None and [tokens[1](n) for n in growth.FRAMES] == [32, 48, 80, 144]
    assert tokens[2] is not None and tokens[2](64 * 64) == 48


def test_the_whole_bench_at_the_smallest_sizes(pocket: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for the processes: memory that grows by half of the size, runs of a second each."""
    sizes = {"STEPS": (1, 2), "FRAMES": (5, 9), "SIDES": (64, 96), "BATCHES": (1, 2), "REPEATS": 1, "UPDATES": 2}
    for name, value in sizes.items():
        monkeypatch.setattr(growth, name, value)
    small = growth.changed(pocket, data={"num_frames": 5})

    def measured(config: Config, what: str, implementation: str) -> Measured:
        assert (what, implementation) == ("update", case.ENGINE)
        pixels = (config.data.height or 0) * (config.data.width or 0) * config.data.num_frames
        return Measured(100.0, 100.0 + pixels**0.5 * config.train.train_batch_size**0.5, None, 1.0)

    runs: list[tuple[Config, dict[str, str]]] = []

    def trained(config: Config, runs_dir: Path, environment: dict[str, str], **_: Any) -> tuple[RunFolder, float]:
        runs.append((config, environment))
        run = RunFolder.create(runs_dir, "run")
        took = 2.0 if config.deepspeed.num_processes == 1 else 1.0
        lines = [{"step": 1, "step_seconds": 9.0}, {"step": 2, "step_seconds": took}, {"step": 2, "eval/reward": 1.0}]
        run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run, 0.0

    monkeypatch.setattr(case, "measure", measured)
    monkeypatch.setattr(trained_run, "train", trained)
    report = growth.measure(small, lambda *_: None)
    assert [row[2] for row in report.rows if row[0] is None] == [
        "gradient steps: 1", "frames: 5", "pixels of a frame: 4096", "videos of a micro-batch: 1",
        "processes, the same videos: 1",
    ]  # fmt: skip
    marks = {mark.what.partition(",")[0]: mark for mark in report.marks}
    assert marks["gradient steps: exponent of the memory"].value == pytest.approx(0)
    for name in ("frames", "pixels of a frame", "videos of a micro-batch"):
        assert marks[f"{name}: exponent of the memory"].value == pytest.approx(0.5)
        assert marks[f"{name}: exponent of the seconds"].limit >= 1.1
    assert marks["share of the ideal speed on 2 processes"].value == pytest.approx(1.0)
    assert [config.deepspeed.num_processes for config, _ in runs] == [1, 2]
    assert [config.train.gradient_accumulation_steps for config, _ in runs] == [2, 1]
    assert {config.train.train_batch_size for config, _ in runs} == {2}
    assert runs[0][1] == runs[1][1] and "OMP_NUM_THREADS" in runs[0][1]
    assert len(report.marks) == 9 and all(float(row[3] or 0) > 0 for row in report.rows)
    json.dumps(report.content())
