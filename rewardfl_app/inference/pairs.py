"""The two sides of a comparison, and the samples they share.

A sample is the same on both sides when prompt, seed and name agree: then only the model differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewardfl_app.runs.folder import RunError, RunFolder
from rewardfl_app.runs.samples import BASELINE_STEP, Sample, list_samples


class CompareError(RunError):
    """Two sets of samples that cannot be compared; the message is one sentence."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the evaluation samples of a run after `step` updates (0: the base model)."""

    run: RunFolder
    step: int
    samples: dict[str, Sample]

    @property
    def label(self) -> str:
        """What the side is, in a few words."""
        return "base model" if self.step == BASELINE_STEP else f"after {self.step} steps"


@dataclass(frozen=True)
class Pair:
    """The same sample (prompt, first frame, seed) on both sides, with the content of faces.json of each."""

    name: str
    before: Sample
    after: Sample
    before_faces: dict[str, Any]
    after_faces: dict[str, Any]


def side(run: RunFolder, step: int | None = None) -> Side:
    """The samples of a run after `step` updates; None is the last step that has some. Raises CompareError."""
    found = list_samples(run)
    if step is None:
        step = max(found, default=BASELINE_STEP)
        if step == BASELINE_STEP:
            raise CompareError(
                f"Run {run.id} has no samples after training yet: there is nothing to compare with its base model."
            )
    if step not in found:
        steps = ", ".join(str(known) for known in found) or "none"
        raise CompareError(f"Run {run.id} has no samples of step {step}; it has those of steps: {steps}.")
    return Side(run, step, {sample.name: sample for sample in found[step]})


def pairs(before: Side, after: Side) -> list[Pair]:
    """The samples that both sides made from the same prompt and seed, by name.

    Raises CompareError when there are none.
    """
    found = []
    for name in sorted(before.samples.keys() & after.samples.keys()):
        pair = Pair(
            name,
            before.samples[name],
            after.samples[name],
            before.samples[name].load_faces(),
            after.samples[name].load_faces(),
        )
        if all(pair.before_faces.get(key) == pair.after_faces.get(key) for key in ("prompt", "seed")):
            found.append(pair)
    if not found:
        raise CompareError(
            f"{before.run.id} ({before.label}) and {after.run.id} ({after.label}) have no sample with the same prompt "
            "and seed: only runs with the same evaluation settings can be compared."
        )
    return found
