"""Which process this is, and since when it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from rewardfl_app.runs import identity


def test_when_a_process_started_is_told_also_once_it_has_ended() -> None:
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        record = identity.describe(child.pid, ["python"])
        after = time.time()
    assert not identity.is_running(record)
    started = identity.started_at(record)
    assert started is not None and before - 0.05 <= started <= after + 0.05


def test_another_start_of_the_machine_tells_no_time() -> None:
    record = identity.describe(os.getpid(), [])
    assert identity.started_at(record) is not None
    assert identity.started_at({**record, "boot_id": "another"}) is None
    assert identity.started_at({"boot_id": identity.boot_id()}) is None
