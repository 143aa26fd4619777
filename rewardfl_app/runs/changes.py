"""changes.jsonl: what was changed of a run's frozen configuration since, step by step.

One line {step, field, before, after, time, request} per change: `step` is the first update made with the new value.
The trainer writes it while it runs, the supervisor when a run is resumed with changes; config.yaml stays as it was. A
change holds whenever its step is reached again, so a run that goes on from an earlier checkpoint makes the same updates
as one that was never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from dataclasses import field as _field
from typing import Any

from rewardfl_app.runs import jsonlines, typed
from rewardfl_app.runs.folder import RunFolder


@dataclass(frozen=True)
class Change:
    """One field that has another value from update `step` on. `request`: id of the request that asked for it."""

    step: int
    field: str
    before: Any
    after: Any
    time: float = _field(default_factory=time.time)
    request: str | None = None

    @property
    def sentence(self) -> str:
        """learning_rate is 1e-4 from step 13 on; it was 5e-4."""
        name = self.field.partition(".")[2]
        before, after = spoken(self.before), spoken(self.after)
        return f"{name} is {after} from step {self.step} on; it was {before}."


def record(run: RunFolder, change: Change) -> None:
    """Write a change down. Raises OSError."""
    jsonlines.append(run.changes, asdict(change))


def read(run: RunFolder) -> list[Change]:
    """The changes that stand, in the order of their steps."""
    found = []
    for line in jsonlines.read_all(run.changes):
        step, name = typed.whole(line.get("step")), line.get("field")
        if step is not None and isinstance(name, str):
            request = line.get("request")
            found.append(
                Change(
                    step,
                    name,
                    line.get("before"),
                    line.get("after"),
                    typed.seconds(line.get("time")) or 0.0,
                    request if isinstance(request, str) else None,
                )
            )
    return standing(found)


def standing(written: Iterable[Change]) -> list[Change]:
    """Those of the changes in the order of writing that stand, in the order of their steps.

    A later word on a field takes back what was said before of the same or a later step: that stretch was abandoned.
    """
    kept: list[Change] = []
    for change in written:
        kept = [other for other in kept if other.field != change.field or other.step < change.step]
        kept.append(change)
    return sorted(kept, key=lambda change: change.step)


def spoken(value: object) -> str:
    """A value as it stands in a sentence: 5e-4, on, off, empty."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == "":
        return "empty"
    if isinstance(value, float):
        text = f"{value:.10g}"
        if value and abs(value) < 1e-3:
            digits, _, power = f"{value:.9e}".partition("e")
            short = f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
            return min(short, text, key=len)
        return text
    return str(value)
