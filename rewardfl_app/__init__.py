"""Reward Feedback Learning for image-to-video diffusion models, with an app to run, watch and compare it.

from rewardfl_app import start, follow, score, compare

run = start("pocket", {"train.max_steps": 20})
for record in follow(run):
    print(record["step"], record.get("reward"))
compare(run)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewardfl_app.api.checking import Checked, check
    from rewardfl_app.api.comparing import Compared, compare
    from rewardfl_app.api.run import Run
    from rewardfl_app.api.scoring import Score, score
    from rewardfl_app.api.starting import configure, find, follow, list_runs, start

__version__ = "0.1.0"
__all__ = [
    "Checked",
    "Compared",
    "Run",
    "Score",
    "check",
    "compare",
    "configure",
    "find",
    "follow",
    "list_runs",
    "score",
    "start",
]

# Looked up when they are first used, so that importing a part of the package imports no other.
_HOMES = {
    "Checked": "checking",
    "Compared": "comparing",
    "Run": "run",
    "Score": "scoring",
    "check": "checking",
    "compare": "comparing",
    "configure": "starting",
    "find": "starting",
    "follow": "starting",
    "list_runs": "starting",
    "score": "scoring",
    "start": "starting",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"rewardfl_app.api.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
