"""Which of several training processes went first, and how, whoever collects it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_runs import eventually

from rewardfl_app.runs import pulse
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor.rank_watch import LostRank, RankWatch, is_suspended

RANK = (
    "import sys, time; from pathlib import Path; from rewardfl_app.runs import pulse; "
    "from rewardfl_app.runs.folder import RunFolder; "
    "pulse.BEAT_SECONDS = 0.02; pulse.start(RunFolder(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])); "
    "sys.exit(int(sys.stdin.readline()))"
)

Ranks = Callable[[int], list[subprocess.Popen[str]]]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "x")


@pytest.fixture
def start(run: RunFolder) -> Iterator[Ranks]:
    """Starts so many ranks, each of which ends with the code it is told."""
    started: list[subprocess.Popen[str]] = []

    def begin(size: int) -> list[subprocess.Popen[str]]:
        for number in range(size):
            argv = [sys.executable, "-c", RANK, str(run.path), str(number), str(size)]
            started.append(subprocess.Popen(argv, stdin=subprocess.PIPE, text=True))
        eventually(lambda: len(pulse.read(run)) == size)
        return started

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_the_first_that_is_killed_is_named_though_all_are_gone_at_the_next_look(run: RunFolder, start: Ranks) -> None:
    ranks, watch = start(3), RankWatch(run, 60.0)
    watch.look()
    assert watch.lost is None
    ranks[1].kill()
    eventually(watch._ends.so_far)
    for other in (ranks[0], ranks[2]):
        assert other.stdin
        other.communicate("1\n")
    ranks[1].wait()  # collected: nobody can ask how it ended any more
    watch.look()
    assert watch.lost == LostRank(1, 3, -signal.SIGKILL) and not watch.is_overdue


@pytest.mark.parametrize(
    ("codes", "number"),
    [((-15, -9), 1), ((-15, None), 1), ((0, 3, -15), 1), ((None, None), None), ((-9, -9, -15), None), ((-15,), 0)],
)
def test_of_ends_that_are_seen_at_once_the_launchers_own_came_last(
    codes: tuple[int | None, ...], number: int | None
) -> None:
    size = len(codes)
    together = [LostRank(place, size, code) for place, code in enumerate(codes)]
    first = RankWatch(RunFolder(Path("x")), 1.0)._ends.first([together, [LostRank(7, size, -9)]])
    assert first is not None and first.number == number
    assert first.code == (codes[0] if number is None else codes[number])


def test_a_rank_that_leaves_by_itself_is_told_with_its_code(run: RunFolder, start: Ranks) -> None:
    ranks, now = start(2), [0.0]
    watch = RankWatch(run, 60.0, clock=lambda: now[0])
    watch.look()
    assert ranks[0].stdin
    ranks[0].stdin.write("3\n")
    ranks[0].stdin.flush()

    def lost() -> bool:
        watch.look()
        return watch.lost is not None

    eventually(lost)
    assert watch.lost == LostRank(0, 2, 3)
    assert not watch.is_overdue
    now[0] = 46.0  # longer than the launcher needs to end the others
    assert watch.is_overdue


def test_a_silent_rank_is_given_up_only_while_another_is_not(run: RunFolder, start: Ranks) -> None:
    ranks, now = start(2), [0.0]
    watch = RankWatch(run, 60.0, clock=lambda: now[0])
    for rank in ranks:
        rank.send_signal(signal.SIGSTOP)
    eventually(lambda: is_suspended(pulse.read(run)))
    watch.look()
    now[0] = 100.0
    watch.look()
    assert watch.lost is None  # the machine may have stood still
    ranks[0].send_signal(signal.SIGCONT)
    beat = pulse.read(run)[0].beat
    eventually(lambda: pulse.read(run)[0].beat != beat)
    watch.look()
    assert watch.lost == LostRank(1, 2, silent_seconds=100.0) and watch.is_overdue


def test_one_process_alone_is_never_lost(run: RunFolder, start: Ranks) -> None:
    [rank] = start(1)
    watch = RankWatch(run, 0.01)
    watch.look()
    rank.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    watch.look()
    rank.kill()
    rank.wait()
    watch.look()
    assert watch.lost is None


def test_a_rank_of_another_machine_is_known_by_its_pulse_alone(run: RunFolder, start: Ranks) -> None:
    start(1)
    far = run.ranks / "rank_0001.json"
    far.write_text('{"rank": 1, "size": 2, "pid": 1, "start_time": 5, "boot_id": "other", "host": "node7"}')
    (run.ranks / "rank_0000.json").write_text(
        (run.ranks / "rank_0000.json").read_text().replace('"size": 1', '"size": 2')
    )
    now = [0.0]
    watch = RankWatch(run, 60.0, clock=lambda: now[0])
    watch.look()
    assert watch.lost is None
    beat = pulse.read(run)[0].beat
    eventually(lambda: pulse.read(run)[0].beat != beat)
    now[0] = 61.0
    watch.look()
    assert watch.lost == LostRank(1, 2, silent_seconds=61.0)


def test_the_pulse_of_a_folder_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    over = pulse.start(run, 0, 1)
    assert [rank.number for rank in pulse.read(run)] == [0] and pulse.read(run)[0].record["pid"] == os.getpid()
    pulse.clear(run)
    assert pulse.read(run) == []
    over.set()
