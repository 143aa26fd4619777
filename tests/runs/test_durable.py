"""What has its name is whole and on the disk; what a disk does not take leaves nothing torn behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rewardfl_app.runs import durable, jsonlines
from rewardfl_app.runs.jsonfile import write_json_atomic


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is asked of the disk, in order: ("flush", file or folder) and ("rename", new name)."""
    seen: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        seen.append(("flush", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def noted_replace(source: Any, target: Any) -> None:
        seen.append(("rename", os.path.basename(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return seen


def test_a_file_gets_its_name_after_its_bytes_and_before_anything_else(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    write_json_atomic(tmp_path / "a.json", {"x": 1})
    assert [call[0] for call in calls] == ["flush", "rename", "flush"]
    assert calls[0][1].startswith(".a.json.") and calls[1] == ("rename", "a.json")
    assert calls[2] == ("flush", tmp_path.name)


def test_every_record_is_flushed(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    with jsonlines.JsonLinesWriter(tmp_path / "m.jsonl") as writer:
        writer.append({"a": 1})
        writer.append({"a": 2})
    assert calls == [("flush", "m.jsonl")] * 2


def test_a_folder_is_flushed_before_and_after_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "writing").mkdir()
    durable.rename(tmp_path / "writing", tmp_path / "final")
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    with pytest.raises(OSError):
        durable.rename(tmp_path / "gone", tmp_path / "x")


class _FullDisk:
    """Takes `room` bytes of everything that is written, then says that it is full."""

    def __init__(self, file: Any, room: int) -> None:
        self._file, self._room = file, room

    def write(self, data: memoryview) -> int:
        if not self._room:
            raise OSError(28, "No space left on device")
        taken = self._file.write(data[: self._room])
        self._room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("room", [0, 1, 7, 12])
def test_a_record_that_does_not_fit_leaves_no_torn_line(tmp_path: Path, room: int) -> None:
    path = tmp_path / "m.jsonl"
    with jsonlines.JsonLinesWriter(path) as writer:
        writer.append({"step": 1})
        writer._file = _FullDisk(writer._file, room)  # type: ignore[assignment]
        with pytest.raises(OSError, match="No space"):
            writer.append({"step": 2, "text": "x" * 40})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"step": 1}]


def test_a_disk_that_takes_a_part_at_a_time_gets_the_whole_line(tmp_path: Path) -> None:
    class Slow(_FullDisk):
        def write(self, data: memoryview) -> int:
            return int(self._file.write(data[:3]))

    path = tmp_path / "m.jsonl"
    with jsonlines.JsonLinesWriter(path) as writer:
        writer._file = Slow(writer._file, 0)  # type: ignore[assignment]
        writer.append({"step": 1})
    assert jsonlines.read_all(path) == [{"step": 1}]
