"""Files of JSON that are read while they are written, and after a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardfl_app.runs.events import log_event, read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.metrics import MetricsReader, MetricsWriter, current, read_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_a_reader_gets_each_record_once(path: Path) -> None:
    reader = MetricsReader(path)
    assert reader.read_new() == []
    with MetricsWriter(path) as writer:
        writer.append({"step": 1, "loss": 0.5})
        assert reader.read_new() == [{"step": 1, "loss": 0.5}]
        assert reader.read_new() == []
        writer.append({"step": 2})
        writer.append({"step": 3})
        assert [record["step"] for record in reader.read_new()] == [2, 3]
    assert [record["step"] for record in read_all(path)] == [1, 2, 3]


def test_nan_and_infinity_become_null(path: Path) -> None:
    with MetricsWriter(path) as writer:
        writer.append(
            {"loss": float("nan"), "kl": np.float32("inf"), "reward": np.float32(0.5), "list": [float("-inf")]}
        )
    assert "NaN" not in path.read_text()
    assert read_all(path) == [{"loss": None, "kl": None, "reward": 0.5, "list": [None]}]


def test_a_line_still_being_written_waits(path: Path) -> None:
    path.write_text('{"step": 1}\n{"st')
    reader = MetricsReader(path)
    assert reader.read_new() == [{"step": 1}]
    with open(path, "a") as file:
        file.write('ep": 2}\n')
    assert reader.read_new() == [{"step": 2}]


def test_a_torn_line_does_not_spoil_what_follows(path: Path) -> None:
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    with MetricsWriter(path) as writer:
        writer.append({"step": 2})
    assert read_all(path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("replace", [False, True])
def test_a_reader_starts_over_when_the_file_is_cut_or_replaced(path: Path, replace: bool) -> None:
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    reader = MetricsReader(path)
    assert len(reader.read_new()) == 3
    if replace:
        other = path.with_name("other")
        other.write_text(
            '{"step": 1, "a much longer line than there was before": "................................"}\n'
        )
        os.replace(other, path)
    else:
        os.truncate(path, len('{"step": 1}\n'))
    assert [record["step"] for record in reader.read_new()] == [1]
    assert reader.restarts == 1


def test_a_reader_survives_that_the_file_goes_away(path: Path) -> None:
    path.write_text('{"step": 1}\n')
    reader = MetricsReader(path)
    reader.read_new()
    path.unlink()
    assert reader.read_new() == []
    path.write_text('{"step": 1}\n')
    assert reader.read_new() == [{"step": 1}]


@given(content=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_reading_in_pieces_is_reading_at_once(
    content: bytes, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = b'{"step": 1}\n' + content + b'\n{"step": 2}\n'
    path = tmp_path_factory.mktemp("pieces") / "metrics.jsonl"
    reader, pieces, written = MetricsReader(path), [], 0
    with open(path, "wb", buffering=0) as file:
        for cut in [*sorted(cuts), len(lines)]:
            file.write(lines[written:cut])
            written = max(written, cut)
            pieces += reader.read_new()
    assert pieces == read_all(path)
    assert pieces[0] == {"step": 1}
    assert pieces[-1] == {"step": 2}


def train(step: int, mark: int = 0) -> dict[str, Any]:
    return {"step": step, "loss": 0.0, "mark": mark}


def evaluation(step: int, mark: int = 0) -> dict[str, Any]:
    return {"step": step, "eval/reward": 0.5, "mark": mark}


def test_an_uninterrupted_run_stands_as_it_is() -> None:
    records = [evaluation(0), train(1), train(2), evaluation(2), train(3)]
    assert current(records) == records


def test_what_a_resumed_run_wrote_again_counts() -> None:
    first = [evaluation(0), train(1), train(2), evaluation(2), train(3), train(4), evaluation(4), train(5)]
    resumed = [train(3, 1), train(4, 1)]
    assert current(first + resumed) == [evaluation(0), train(1), train(2), evaluation(2), train(3, 1), train(4, 1)]


def test_records_without_a_step_are_left_out() -> None:
    assert current([{"loss": 1.0}, {"step": None}, train(1)]) == [train(1)]


def test_atomic_json_keeps_the_old_file_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_json_atomic(path, {"step": 1, "where": tmp_path, "loss": float("nan")})
    with pytest.raises(TypeError):
        write_json_atomic(path, {"step": object()})
    assert read_json(path) == {"step": 1, "where": str(tmp_path), "loss": None}
    assert [child.name for child in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '{"a": 1'])
def test_unreadable_json_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    assert read_json(tmp_path / "x.json") is None
    assert read_json(tmp_path / "none.json") is None


def test_events_keep_their_fields(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path)
    log_event(run, "checkpoint", "Saved after step 25.", step=25)
    (event,) = read_events(run)
    assert (event["kind"], event["message"], event["step"]) == ("checkpoint", "Saved after step 25.", 25)
    assert json.loads(run.events.read_text())["time"] > 0
