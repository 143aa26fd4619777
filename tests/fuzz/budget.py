"""How many cases each fuzz test runs, so that their sum holds whatever process runs which test."""

from __future__ import annotations

import os

import hypothesis
from hypothesis import HealthCheck, Phase

# REWARDFL_FUZZ_SCALE=10 draws ten times as many cases, and others than the default run does.
SCALE = max(1, int(os.environ.get("REWARDFL_FUZZ_SCALE") or 1))
LEAST = 2000
LONGEST_SECONDS = 5.0

# Cases that are drawn at random; those that are listed one by one (hostile values of every field) come on top.
DRAWN = {
    "run files": 260,
    "job files": 120,
    "configuration": 250,
    "configuration text": 150,
    "changed settings": 80,
    "manifest": 250,
    "manifest text": 150,
    "video": 250,
    "safetensors": 250,
    "pytorch": 120,
    "lists of weights": 100,
    "checkpoint": 100,
    "face pack": 250,
}


class Tally:
    """Counts the cases of one test; `check` fails when they were fewer than the test has to run."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def one(self) -> None:
        """One case more was run."""
        self._count += 1

    def check(self) -> None:
        """Called at the end of the test."""
        assert self._count >= DRAWN[self._name] * SCALE, f"{self._name}: only {self._count} cases were run"


def drawn(name: str) -> hypothesis.settings:
    """The settings of a hypothesis test that draws the number of cases of this name.

    The default run draws the same cases every time: what it finds is there for everybody, and on every machine.
    """
    return hypothesis.settings(
        max_examples=DRAWN[name] * SCALE,
        deadline=None,
        database=None,
        derandomize=SCALE == 1,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
