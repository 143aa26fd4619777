"""What was found in a clip is known again by its content, and only by that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rewardfl_app.data.findings import Findings, RowReport
from rewardfl_app.data.manifest import Row, RowProblem


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """A row with one file."""
    (tmp_path / "a.mp4").write_bytes(b"a clip")
    return Row(1, tmp_path / "a.mp4", "a prompt")


def _keep(path: Path, row: Row) -> None:
    report = RowReport(row.index, str(row.video), 64, 64, 8.0, 17, boxes=[[0.1, 0.2, 0.5, 0.6]], people=1)
    Findings(path).keep(row, report, [RowProblem(row.index, f"No face in {row.video}.", "video")])


def test_a_finding_is_there_for_the_next_process(tmp_path: Path, row: Row) -> None:
    early = Findings(tmp_path / "faces.jsonl")
    assert early.find(row) is None
    _keep(tmp_path / "faces.jsonl", row)
    found = Findings(tmp_path / "faces.jsonl").find(Row(7, row.video, "another prompt"))
    assert found is not None and found.report.row == 7 and found.report.boxes == [[0.1, 0.2, 0.5, 0.6]]
    assert found.problems == [RowProblem(7, f"No face in {row.video}.", "video")]
    assert early.find(row) is None
    early.refresh()
    assert early.find(row) is not None


def test_the_next_row_with_the_same_clip_is_known_at_once(tmp_path: Path, row: Row) -> None:
    findings = Findings(tmp_path / "faces.jsonl")
    copy = Row(2, tmp_path / "b.mp4", "another prompt")
    copy.video.write_bytes(b"a clip")
    assert findings.find(copy) is None
    findings.keep(row, RowReport(1, str(row.video), 64, 64), [])
    for same in (row, copy):
        found = findings.find(same)
        assert found is not None and (found.report.row, found.report.video) == (same.index, str(same.video))


def test_a_moved_copy_is_the_same_clip_under_its_new_name(tmp_path: Path, row: Row) -> None:
    _keep(tmp_path / "faces.jsonl", row)
    copy = tmp_path / "elsewhere" / "b.mp4"
    copy.parent.mkdir()
    shutil.copyfile(row.video, copy)
    os.utime(copy, (1, 1))
    found = Findings(tmp_path / "faces.jsonl").find(Row(2, copy, ""))
    assert found is not None and found.report.video == str(copy)
    assert found.problems[0].message == f"No face in {copy}."


def test_a_changed_clip_or_another_input_image_is_not_known(tmp_path: Path, row: Row) -> None:
    _keep(tmp_path / "faces.jsonl", row)
    (tmp_path / "still.png").write_bytes(b"picture")
    findings = Findings(tmp_path / "faces.jsonl")
    assert findings.find(Row(1, row.video, "", tmp_path / "still.png")) is None
    row.video.write_bytes(b"b clip")
    os.utime(row.video, (1, 1))
    assert findings.find(row) is None
    row.video.unlink()
    assert findings.find(row) is None
