"""The evaluation records of a run, followed without parsing the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardfl_app.runs.evaluations import Evaluated, EvaluationReader
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.metrics import MetricsWriter, current, is_evaluation, read_all


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "followed")


def _training(step: int) -> dict[str, Any]:
    return {"step": step, "time": 1.0 * step, "loss": 0.5}


def _evaluation(step: int, reward: float = 0.6) -> dict[str, Any]:
    return {"step": step, "time": 1.0 * step, "eval/reward": reward}


def _write(run: RunFolder, *records: dict[str, Any]) -> None:
    with MetricsWriter(run.metrics) as writer:
        for record in records:
            writer.append(record)


def _standing(run: RunFolder) -> list[Evaluated]:
    return [Evaluated(record) for record in current(read_all(run.metrics)) if is_evaluation(record)]


def test_only_what_is_new_is_read(run: RunFolder) -> None:
    reader = EvaluationReader(run)
    assert not reader.look() and reader.records == []
    _write(run, _evaluation(0), _training(1), _training(2), _evaluation(2))
    assert reader.look() and [record["step"] for record in reader.records] == [0, 2]
    _write(run, _training(3))
    assert not reader.look()
    _write(run, _training(4), _evaluation(4))
    assert reader.look() and reader.records == _standing(run)


def test_what_a_resumed_run_gave_up_no_longer_stands(run: RunFolder) -> None:
    reader = EvaluationReader(run)
    _write(run, *(record for step in range(1, 7) for record in (_training(step), _evaluation(step))))
    reader.look()
    (run.path / "exit.1.json").write_text("{}")  # as the supervisor leaves it when the run goes on
    _write(run, _training(3), _training(4), _evaluation(4, 0.9))
    assert reader.look() and reader.records == _standing(run)
    assert [record["step"] for record in reader.records] == [1, 2, 4]
    again = EvaluationReader(run)
    again.look()
    assert again.records == reader.records


def test_a_record_torn_by_a_crash_is_passed_over(run: RunFolder) -> None:
    _write(run, _evaluation(1))
    with open(run.metrics, "ab") as file:
        file.write(b'{"step": 2, "eval/rew')
    reader = EvaluationReader(run)
    assert reader.look() and len(reader.records) == 1
    _write(run, _evaluation(3))
    assert reader.look() and [record["step"] for record in reader.records] == [1, 3]


def test_a_file_that_was_replaced_is_read_anew(run: RunFolder) -> None:
    reader = EvaluationReader(run)
    _write(run, _evaluation(1), _evaluation(2))
    reader.look()
    run.metrics.unlink()
    assert reader.look() and reader.records == []
    _write(run, _evaluation(1, 0.2))
    assert reader.look() and reader.records == _standing(run)
