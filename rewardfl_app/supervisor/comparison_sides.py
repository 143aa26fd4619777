"""The two sides of a comparison: evaluation videos of a run, rendered first where there are none."""

from __future__ import annotations

from collections.abc import Callable

from rewardfl_app.inference import pairs
from rewardfl_app.inference.pairs import Side
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.samples import BASELINE_STEP, list_samples
from rewardfl_app.supervisor import inference_child


def step(run: RunFolder, checkpoint: str) -> int:
    """The step that `checkpoint` names: a number, which may have samples alone, latest or best. Raises
    CheckpointError."""
    return int(checkpoint) if checkpoint.isdecimal() else checkpoints.find(run, checkpoint).step


def side(run: RunFolder, step: int | None, rendering: Callable[[str], None] = lambda name: None) -> Side:
    """The samples of a step, rendered from its checkpoint where there are none; None: of the last with either.

    `rendering` is told the name of what is rendered, which may take minutes. Raises InferenceError, CompareError.
    """
    found = list_samples(run)
    saved = {checkpoint.step for checkpoint in checkpoints.list_checkpoints(run)}
    if step is None and max(found, default=BASELINE_STEP) == BASELINE_STEP and saved:
        step = max(saved)
    if step is not None and step not in found and step in {BASELINE_STEP, *saved}:
        name = "base" if step == BASELINE_STEP else str(step)
        rendering(name)
        inference_child.run("evaluate", "--run", str(run.path), "--checkpoint", name)
    return pairs.side(run, step)
