"""Which samples of a run are complete, followed while it goes on: names alone, and no folder is looked into twice that
cannot have changed, so that a tick costs no more after thousands of samples.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.samples import REFERENCES, step_of

Names = tuple[str, ...]


@dataclass(frozen=True)
class _Group:
    """The folder of a step as it was seen. `is_settled`: every sample that was begun in it is complete."""

    modified_ns: int
    names: Names
    is_settled: bool


class SampleNames:
    """Call `look`, then read `steps` and `references`."""

    def __init__(self, run: RunFolder) -> None:
        self._folder = run.samples
        self._groups: dict[str, _Group] = {}
        self._newest = ""
        self._kept: dict[Names, Names] = {}  # the names of most steps are the same
        self.steps: dict[int, Names] = {}
        """Names of the complete samples by step, steps ascending; 0 is the base model."""
        self.references: Names = ()
        """Names of the complete real clips."""

    @property
    def num_samples(self) -> int:
        """How many samples of the model are complete."""
        return sum(map(len, self.steps.values()))

    def look(self) -> bool:
        """Look again; whether anything is another than before."""
        try:
            found = {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(self._folder) if entry.is_dir()}
        except OSError:
            found = {}
        before, former_newest = self._groups, self._newest
        self._newest = max(found, key=lambda name: step_of(name) or 0, default="")
        open_ones = {former_newest, self._newest}
        groups: dict[str, _Group] = {}
        for name, modified_ns in found.items():
            known = before.get(name)
            if known is None or known.modified_ns != modified_ns or not known.is_settled or name in open_ones:
                known = self._group(name, modified_ns)
            groups[name] = known
        if groups == before:
            return False
        self._groups = groups
        by_step = {step: group.names for name, group in groups.items() if (step := step_of(name)) is not None}
        steps = {step: names for step, names in sorted(by_step.items()) if names}
        references = groups[REFERENCES].names if REFERENCES in groups else ()
        changed = steps != self.steps or references != self.references
        self.steps, self.references = steps, references
        return changed

    def _group(self, name: str, modified_ns: int) -> _Group:
        path = self._folder / name
        try:
            begun = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name[0] != ".")
        except OSError:
            begun = []
        names = tuple(one for one in begun if os.path.isfile(path / one / "faces.json"))
        return _Group(modified_ns, self._kept.setdefault(names, names), len(names) == len(begun))
