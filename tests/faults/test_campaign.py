"""Each fault a few times, at random moments; `python tests/faults/campaign.py` does it hundreds of times."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from faults import campaign

# Enough that every fault has its turn.
COUNT = int(os.environ.get("REWARDFL_FAULTS", "0")) or len(campaign.FAULTS)


@pytest.mark.parametrize("number", range(COUNT))
def test_fault(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in campaign.prepare(tmp_path).items():
        monkeypatch.setenv(name, value)
    one = campaign.Campaign(tmp_path / "campaign", seed=int(os.environ.get("REWARDFL_SEED", "0")))
    one.run(range(number, number + 1))
    if one.skipped:
        pytest.skip("no file system can be mounted here")
    assert one.done.total() == 1
