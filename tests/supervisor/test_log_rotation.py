"""The log of a run of weeks stays small, and what was written last is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rewardfl_app.supervisor import account, log_rotation

LINES = 3000
WRITER = f"""
import time
for n in range({LINES}):
    print('line', n, flush=True)
    if n % 20 == 0:
        time.sleep(0.004)  # else all of them are written while the other process is not on its turn
"""


def test_lines_written_while_the_log_is_begun_anew_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    kept: list[str] = []
    with open(log, "ab") as output:
        writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=output)
    while writer.poll() is None:
        if log_rotation.rotate(log, 2000):
            kept += log.with_name("train.log.1").read_text().splitlines(keepends=True)
    kept += log.read_text().splitlines(keepends=True)
    # A line that was being written at the cut may be in two parts.
    numbers = [int(line[5:]) for line in kept if line.startswith("line ") and line.endswith("\n")]
    assert numbers == sorted(set(numbers)) and numbers[-1] == LINES - 1
    # Between the last look and the cut a line can slip by; most must not.
    assert len(numbers) > 0.5 * LINES
    assert not list(tmp_path.glob(".*"))


def test_a_small_log_is_left_alone_and_the_part_before_the_last_goes(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    assert not log_rotation.rotate(log)
    for text in ("first", "second", "third"):
        log.write_text(text * 10)
        assert not log_rotation.rotate(log, 1000)
        assert log_rotation.rotate(log, 10)
        assert log.read_text() == "" and log.with_name("train.log.1").read_text() == text * 10
    assert len(list(tmp_path.iterdir())) == 2


def test_the_end_of_a_log_that_was_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("of an earlier attempt. now")
    assert account.log_tail(log, 23) == "now"
    log.write_text("RuntimeError: x")
    assert account.log_tail(log, 23) == "RuntimeError: x"
    assert account.log_tail(tmp_path / "gone", 3) == ""
    assert account.log_tail(log, None) == "RuntimeError: x"
