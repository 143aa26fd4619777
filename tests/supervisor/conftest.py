from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_runs
import pytest

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import process, supervisor

Start = Callable[..., RunFolder]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a run whose trainer behaves as named, beside others with share=True, or with queue=True puts it into the
    queue; whatever still runs at the end is ended."""
    alone = fake_runs.config(tmp_path / "files")
    beside = alone.model_copy(update={"deepspeed": alone.deepspeed.model_copy(update={"share_devices": True})})

    def begin(behaviour: str, queue: bool = False, share: bool = False, **arguments: Any) -> RunFolder:
        config = beside if share else alone
        for name, value in fake_runs.trainer_environment(behaviour).items():
            monkeypatch.setenv(name, value)
        make = supervisor.enqueue if queue else supervisor.start
        return make(config, tmp_path / "runs", **arguments)

    yield begin
    for run in list_runs(tmp_path / "runs"):
        record = read_json(run.process)
        if record is not None and record.get("role") == "wrapper":
            process.end_session(record, 0.0)
