from __future__ import annotations

import logging
import threading

import fake_runs
import pytest

from rewardfl_app.notebook import ticker
from rewardfl_app.notebook.ticker import Ticker


def test_it_looks_until_there_is_nothing_more() -> None:
    looks: list[int] = []
    each = Ticker(lambda: looks.append(1) or len(looks) < 3, 0.001)
    each.start()
    fake_runs.eventually(lambda: not each.is_running)
    assert len(looks) == 3
    each.start()  # begins again, and finds again that there is nothing
    fake_runs.eventually(lambda: not each.is_running)
    assert len(looks) == 4


def test_a_stopped_one_never_looks_again() -> None:
    looked = threading.Event()
    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        looked.set()
        return True

    each = Ticker(look, 0.001)
    each.start()
    assert looked.wait(60)
    each.stop()
    fake_runs.eventually(lambda: not each.is_running)
    count = len(looks)
    each.start()
    ticker.wake()
    assert not each.is_running and len(looks) == count


def test_those_that_ended_are_woken() -> None:
    looks: list[int] = []
    each = Ticker(lambda: bool(looks.append(1)), 0.001)
    each.start()
    fake_runs.eventually(lambda: not each.is_running)
    ticker.wake()
    fake_runs.eventually(lambda: len(looks) == 2)


def test_what_fails_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    looks: list[int] = []

    def look() -> bool:
        looks.append(1)
        if len(looks) < 5:
            raise OSError("the disk is away")
        return False

    with caplog.at_level(logging.ERROR):
        each = Ticker(look, 0.001)
        each.start()
        fake_runs.eventually(lambda: not each.is_running)
    assert len(looks) == 5
    assert len([record for record in caplog.records if "could not look" in record.message]) == 1
