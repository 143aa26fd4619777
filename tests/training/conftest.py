from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import tiny_family
from forked_trainers import ForkedTrainers

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.supervisor.process import free_port
from rewardfl_app.training.ranks import Ranks

MakeRun = Callable[..., RunFolder]


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_family.make_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="session")
def forked_trainers() -> Iterator[ForkedTrainers]:
    trainers = ForkedTrainers()
    yield trainers
    trainers.close()


@pytest.fixture
def make_run(family: Path, tmp_path: Path) -> MakeRun:
    return partial(tiny_family.make_run, family, tmp_path / "runs")


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's environment for a single process."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    # DeepSpeed keeps the first group of a process for good, so the tests of one process share it.
    monkeypatch.setattr(Ranks, "leave", lambda self: None)
