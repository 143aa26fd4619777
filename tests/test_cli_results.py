"""What the command line tells of the alarm and of the best step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up_runs import evaluation

from rewardfl_app.cli import progress, results
from rewardfl_app.runs import best
from rewardfl_app.runs.checkpoints import CheckpointError, begin, commit
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.metrics import MetricsWriter, read_all
from rewardfl_app.supervisor import comparison_sides


@pytest.fixture
def hacking(tmp_path: Path) -> RunFolder:
    """A run that was good at step 10 and cheats at step 20."""
    run = RunFolder.create(tmp_path, "hacking")
    records = [evaluation(10, 0.65, 0.75), evaluation(20, 0.70, 0.65)]
    with MetricsWriter(run.metrics) as writer:
        for record in records:
            writer.append({**record, "eval/alarm": int(record["step"] == 20)})
    best.write(run, best.choose(records))
    return run


def test_the_summary_ends_with_the_alarm_and_the_best_step(hacking: RunFolder) -> None:
    said = progress.summary(hacking, "Completed.")
    assert "Possible reward hacking since step 20" in said and "The best step is 10 (`--checkpoint best`)." in said
    lines = [progress.evaluation_line(record) for record in read_all(hacking.metrics)]
    assert [line.endswith("alarm") for line in lines] == [False, True]


def test_status_and_runs_tell_both(hacking: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    runs_dir = hacking.path.parent
    assert results.status(hacking.id, runs_dir) == 0
    told = capsys.readouterr().out
    assert "alarm: Possible reward hacking since step 20" in told and "best: step 10. The judge is up by 0.050" in told
    assert results.status(hacking.id, runs_dir, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["alarm"]["since"] == 20 and told["alarm"]["reasons"] == ["judge"] and told["best"]["step"] == 10
    assert results.runs(runs_dir) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["BEST", "ALARM", "STARTED"] and "10    since 20" in row


def test_compare_takes_the_step_by_name(hacking: RunFolder) -> None:
    for step in (10, 20):
        commit(hacking, step, begin(hacking, step))
    assert [comparison_sides.step(hacking, name) for name in ("best", "latest", "15")] == [10, 20, 15]
    with pytest.raises(CheckpointError, match="no complete checkpoint 'nonsense'"):
        comparison_sides.step(hacking, "nonsense")
