"""`train`, `resume` and `stop`."""

from __future__ import annotations

from typing import Annotated

import typer

from rewardfl_app.cli import options, progress
from rewardfl_app.runs.registry import find
from rewardfl_app.supervisor import supervisor
from rewardfl_app.supervisor.supervisor import NotRunning

Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on by itself.")]


def train(
    config: options.ConfigFile = None,
    preset: options.Preset = None,
    overrides: options.Overrides = None,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run, for people.", show_default=False)] = None,
    detach: Detach = False,
) -> int:
    """Start a run and follow it. Ctrl-C stops it with a saved checkpoint; closing the terminal does not touch it."""
    run = supervisor.start(options.build_config(config, preset, overrides), runs_dir, name)
    if detach:
        typer.echo(run.id)
        return 0
    typer.echo(f"run {run.id} in {run.path}")
    return progress.follow(run)


def resume(
    run: options.RunName,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    detach: Detach = False,
) -> int:
    """Go on with a run that was stopped, failed or lost, from its last checkpoint, and follow it."""
    resumed = find(runs_dir, run)
    supervisor.resume(resumed)
    if detach:
        typer.echo(resumed.id)
        return 0
    typer.echo(f"run {resumed.id} in {resumed.path}")
    return progress.follow(resumed)


def stop(
    run: options.RunName,
    now: Annotated[bool, typer.Option("--now", help="Do not finish the step and do not save.")] = False,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
) -> int:
    """Ask a run to finish its step, save a checkpoint and end. Returns at once; `status` tells when it has."""
    found = find(runs_dir, run)
    try:
        supervisor.stop(found, now)
    except NotRunning as error:
        typer.echo(str(error))
        return 0
    promise = "to end without saving" if now else "to finish its step, save a checkpoint and end"
    typer.echo(f"asked run {found.id} {promise}")
    return 0
