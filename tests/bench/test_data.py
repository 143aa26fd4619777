"""The bench of a large data set: a clip is decoded once, under however many names it stands in the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardfl_app.bench import data
from rewardfl_app.config.schema import Config
from rewardfl_app.data import manifest
from rewardfl_app.runs.content import file_digest


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NUM_ROWS": 24, "NUM_CLIPS": 3, "NUM_BATCHES": 24}.items():
        monkeypatch.setattr(data, name, value)


@pytest.mark.usefixtures("few")
def test_nothing_is_decoded_twice(pocket: Config) -> None:
    report = data.measure(pocket, lambda what, done, total: None)
    counted = {row[1]: (row[0], *row[4:]) for row in report.rows if row[5] is not None}
    assert list(counted.values()) == [(1, 24, 3, 21), (0, 24, 0, 24)] * 2
    assert [mark.what for mark in report.marks if not mark.met] == []
    assert all(float(row[2] or 0) > 0 for row in report.rows)


@pytest.mark.usefixtures("few")
def test_a_clip_that_is_decoded_again_misses_the_mark(pocket: Config) -> None:
    forgetful = pocket.model_copy(update={"data": pocket.data.model_copy(update={"cache_gb": 0.0})})
    report = data.measure(forgetful, lambda what, done, total: None)
    missed = [mark for mark in report.marks if not mark.met]
    assert [mark.value for mark in missed] == [8, 8]
    assert all("batches dealt" in mark.what for mark in missed)


def test_the_table_names_a_file_of_its_own_for_every_row(pocket: Config, tmp_path: Path) -> None:
    table = data.make_table(Path(pocket.data.metadata_path or ""), tmp_path, 7, 2)
    rows = manifest.read(table)
    assert len({row.video for row in rows}) == 7
    assert len({file_digest(row.video) for row in rows}) == 2
    assert [row.prompt for row in rows[:2]] == [row.prompt for row in rows[2:4]]
