"""`passport`: one offline page that says what a run was made of and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardfl_app.cli import options, output
from rewardfl_app.inference import passport as made
from rewardfl_app.runs import checkpoints
from rewardfl_app.runs.registry import find
from rewardfl_app.supervisor import supervisor, thaw


def passport(
    run: options.RunName,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="File to write.", show_default=False)],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="STEP|latest|best",
            help="Step it is about [default: the best by the rule, else the last with an evaluation].",
            show_default=False,
        ),
    ] = None,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
) -> int:
    """Write the passport of a run: one HTML file that opens offline, with curves, videos, settings and hashes."""
    found = find(runs_dir, run)
    target = output.writable("--out", out, ".html")
    step = None
    if checkpoint is not None:
        step = int(checkpoint) if checkpoint.isdecimal() else checkpoints.find(found, checkpoint).step
    typer.echo(str(made.build(found, thaw.without_embedded(supervisor.settings(found)), target, step)))
    return 0
