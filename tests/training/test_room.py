"""A disk that fills up: the run waits while there is no room, and where it meets the end of it all the same, nothing
that was made is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_family
from brightness_trainer import BrightnessScorer
from fake_runs import eventually
from faults.small_disk import SmallDisk, small_disk

from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.runs import checkpoints, control, metrics, reserve
from rewardfl_app.runs.events import read_events
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.status import read_status
from rewardfl_app.training import checkpointing
from rewardfl_app.training.__main__ import main
from rewardfl_app.training.evaluation import Evaluation
from rewardfl_app.training.reporting import Reporter
from rewardfl_app.training.room import Room
from rewardfl_app.training.step import TrainingStep

STEPS = 4


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorer, "load", lambda reward, device="cpu": BrightnessScorer())


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", 16) as mounted:
        if mounted is None:
            pytest.skip("no file system can be mounted here")
        yield mounted


def make(family: Path, disk: SmallDisk, **train: Any) -> RunFolder:
    changes = {"max_steps": STEPS, "save_steps": 2, "min_free_gb": 1e-4, **train}
    run = tiny_family.make_run(family, disk.path, "x", train=changes, data={"cache_gb": 0.0})
    reserve.keep(run)
    return run


def before(owner: Any, name: str, call: int, do: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Does something before the call number `call` (from 1) of a function."""
    original, count = getattr(owner, name), [0]

    def counted(*arguments: Any, **named: Any) -> Any:
        count[0] += 1
        if count[0] == call:
            do()
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, counted)


def steps(run: RunFolder) -> list[int]:
    return [record["step"] for record in metrics.current(metrics.read_all(run.metrics)) if "loss" in record]


@pytest.mark.parametrize(
    ("owner", "name", "call", "made", "saved"),
    [
        (checkpointing, "save", 1, 2, 0),
        (checkpointing, "save", 2, 4, 2),
        (Evaluation, "_render", 2, 2, 0),
        (Reporter, "record", 3, 2, 0),  # the baseline's, the first step's, and this
    ],
)
def test_a_disk_that_is_full_under_its_hands(
    family: Path,
    disk: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    made: int,
    saved: int,
) -> None:
    run = make(family, disk)
    with monkeypatch.context() as patch:
        patch.setattr(Room, "wait_for", lambda *_, **__: True)
        before(owner, name, call, disk.fill, patch)
        assert main([str(run.path)]) == 1
    failure = read_json(run.failure) or {}
    assert failure["cause"] == "disk_full" and "disk is full" in failure["sentence"], failure
    assert steps(run) == list(range(1, made + 1))
    for line in run.metrics.read_text().splitlines():
        json.loads(line)
    assert [found.step for found in checkpoints.list_checkpoints(run)] == ([saved] if saved else [])
    disk.free()
    reserve.keep(run)
    checkpoints.recover(run)
    assert main([str(run.path)]) == 0
    assert steps(run) == [1, 2, 3, 4] and checkpoints.find(run, 4)


def test_it_pauses_until_there_is_room_and_goes_on_by_itself(
    family: Path, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(family, disk)
    seen: list[str] = []
    monkeypatch.setattr("rewardfl_app.training.room._POLL_SECONDS", 0.02)
    before(TrainingStep, "update", 2, disk.fill, monkeypatch)

    def make_room() -> None:
        eventually(lambda: (status := read_status(run)) is not None and status.state == "paused")
        seen.append((read_status(run) or pytest.fail("no status")).message)  # type: ignore[union-attr]
        disk.free()

    helper = threading.Thread(target=make_room)
    helper.start()
    assert main([str(run.path)]) == 0
    helper.join()
    assert "must stay free (train.min_free_gb)" in seen[0] or "A step needs" in seen[0]
    assert steps(run) == [1, 2, 3, 4]
    told = [event["message"] for event in read_events(run) if event["kind"] == "disk"]
    assert (run.path / ".reserve").stat().st_size == reserve.NUM_BYTES
    assert told[0].startswith("Paused. The disk of the runs folder is nearly full") and "going on" in told[1]


def test_when_nobody_makes_room_it_ends_and_says_how_much_is_missing(family: Path, tmp_path: Path) -> None:
    run = tiny_family.make_run(family, tmp_path, "x", train={"min_free_gb": 1e9, "disk_wait_minutes": 0.0})
    assert main([str(run.path)]) == 1
    failure = read_json(run.failure) or {}
    assert failure["cause"] == "disk_full" and "Rendering the evaluation videos needs" in failure["sentence"]
    assert "1000000000.00 GB must stay free" in failure["sentence"] and "are free." in failure["sentence"]


def test_a_paused_run_can_be_stopped_at_once(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_family.make_run(family, tmp_path, "x", train={"min_free_gb": 1e9})
    monkeypatch.setattr("rewardfl_app.training.room._POLL_SECONDS", 0.02)
    before(Room, "_missing", 2, lambda: control.request(run, "stop_now") and None, monkeypatch)
    assert main([str(run.path)]) == 0
    status = read_status(run)
    assert status is not None and status.state == "stopped"


def test_the_newest_checkpoints_and_the_best_are_kept(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = {"max_steps": 6, "save_steps": 1, "save_total_limit": 2}
    run = tiny_family.make_run(family, tmp_path, "x", train=train, evaluation={"eval_steps": 6, "num_samples": 1})
    monkeypatch.setattr(Evaluation, "best_steps", (2,))
    assert main([str(run.path)]) == 0
    assert [found.step for found in checkpoints.list_checkpoints(run)] == [2, 5, 6]
    removed = [event["steps"] for event in read_events(run) if event["kind"] == "removed"]
    assert removed == [[1], [3], [4]]
