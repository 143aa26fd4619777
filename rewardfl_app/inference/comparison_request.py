"""The files of a comparison, written by a child process for the page, which sees how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.inference import compare, pairs
from rewardfl_app.inference.pairs import CompareError, Side
from rewardfl_app.inference.scoring_request import Status
from rewardfl_app.inference.side_by_side import write_side_by_side
from rewardfl_app.runs.folder import RunFolder

_WANTED = ("before", "after", "out")


@dataclass(frozen=True)
class ComparisonRequest:
    """Two sides to write into `out`: the film and report of all pairs, or with `name` the film of that pair alone."""

    before: Side
    after: Side
    out: Path
    name: str | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ComparisonRequest:
        """The request in a JSON object {before: {run, step}, after: {run, step}, out, name}, with folders for the runs.

        Raises ConfigError, and CompareError when a side has no videos.
        """
        problems = [Problem(name, f"The request does not name {name}.") for name in _WANTED if not content.get(name)]
        unknown = [name for name in content if name not in (*_WANTED, "name")]
        problems += [Problem(name, f"There is no {name} in a comparison.") for name in unknown]
        if problems:
            raise ConfigError(problems)
        before, after = (
            pairs.side(RunFolder(Path(content[key]["run"])), int(content[key]["step"])) for key in ("before", "after")
        )
        return cls(before, after, Path(content["out"]), content.get("name"))


def write_comparison(request: ComparisonRequest) -> None:
    """Write side_by_side.mp4 and, for all pairs, report.html and report.json; status.json tells how far it is.

    Raises CompareError and VideoError.
    """
    status = Status(request.out / "status.json")
    status.start(None, "Reading the videos")

    def advance(done: int, total: int) -> None:
        if done == 1:
            status.start(total, "Writing")
        status.advance(1, "Writing")

    try:
        if request.name is None:
            compare.build(request.before, request.after, request.out, advance)
        else:
            _write_one(request, advance)
    except Exception as error:
        status.failed(" ".join(str(error).split()) or type(error).__name__)
        raise
    status.done("")


def _write_one(request: ComparisonRequest, advance: compare.Advance) -> None:
    found = [pair for pair in pairs.pairs(request.before, request.after) if pair.name == request.name]
    if not found:
        raise CompareError(f"There is no pair {request.name!r} of the same prompt and seed on both sides.")
    labels = compare.labels(request.before, request.after)
    write_side_by_side(request.out / compare.FILM, found, *labels, lambda done: advance(done, 1))
