"""Before against after, on the same prompts, first frames and seeds."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.api.run import Run
from rewardfl_app.api.table import Table
from rewardfl_app.inference import compare as comparing
from rewardfl_app.runs.samples import BASELINE_STEP
from rewardfl_app.supervisor import comparison_sides

_MEASURES = (("reward", "reward"), ("judge", "judge"), ("motion", "face motion"), ("face_rate", "frames with a face"))


_OF_SAMPLES = ("reward", "judge", "motion")


@dataclass(frozen=True)
class Compared:
    """`report`: content of report.json. `film`: side_by_side.mp4. `page`: report.html, one file for others."""

    report: dict[str, Any]
    film: Path
    page: Path

    @property
    def verdict(self) -> str:
        """What the changes say together, a sentence."""
        return str(self.report["verdict"]["sentence"])

    @property
    def changes(self) -> dict[str, dict[str, Any] | None]:
        """Each measure's mean before, after, delta and the ends of its 95% interval."""
        return dict(self.report["mean"])

    @property
    def samples(self) -> Table:
        """Reward, judge and motion of every evaluation sample, before and after."""
        return Table(
            {
                "sample": row["name"],
                **{f"{name} {side}": row[name][side] for name in _OF_SAMPLES for side in ("before", "after")},
                "prompt": row["prompt"],
            }
            for row in self.report["samples"]
        )

    def values(self, measure: str) -> tuple[list[float], list[float]]:
        """A measure of every sample that has it on both sides: before, and after in the same order."""
        rows = [row[measure] for row in self.report["samples"]]
        both = [row for row in rows if row["before"] is not None and row["after"] is not None]
        return [row["before"] for row in both], [row["after"] for row in both]

    def __repr__(self) -> str:
        return f"Compared({self.verdict!r}, film={_near(self.film)!r})"

    def _repr_html_(self) -> str:
        rows = ""
        for name, title in _MEASURES:
            change = self.changes.get(name)
            if change is None:
                continue
            low, high = change.get("low"), change.get("high")
            interval = "" if low is None or high is None else f" ({low:+.3f} to {high:+.3f})"
            cells = (title, f"{change['before']:.3f}", f"{change['after']:.3f}", f"{change['delta']:+.3f}{interval}")
            rows += f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>"
        head = "<tr><th></th><th>before</th><th>after</th><th>change</th></tr>"
        return f"<div><b>{html.escape(self.verdict)}</b><table>{head}{rows}</table></div>"


def compare(
    run: Run, checkpoint: int | str | None = None, against: Run | None = None, *, out: str | Path | None = None
) -> Compared:
    """Writes film and report of the evaluation videos of a run beside the base model's.

    Args:
        checkpoint: a step, "latest" or "best" (None: the last with samples); its videos are rendered where there are
            none. against: another run, at its last step, instead of the base model.
        out: folder to write into (None: one in the run's folder).

    Raises CompareError, CheckpointError, InferenceError.
    """
    step = None if checkpoint is None else comparison_sides.step(run.folder, str(checkpoint))
    after = comparison_sides.side(run.folder, step)
    if against is None:
        before = comparison_sides.side(run.folder, BASELINE_STEP)
    else:
        before = comparison_sides.side(against.folder, None)
    if out is None:
        named = "base" if against is None else against.id
        out = run.path / "comparisons" / f"step_{after.step:06}_{named}"
    made = comparing.build(before, after, Path(out).expanduser().absolute())
    return Compared(made.report, made.video, made.page)


def _near(path: Path) -> str:
    """The path as one writes it from the current folder, where it lies in there."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
