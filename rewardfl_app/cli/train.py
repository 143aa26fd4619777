"""`train`, `resume`, `stop`, `save` and `set`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from rewardfl_app.cli import options, progress
from rewardfl_app.config import files
from rewardfl_app.runs import control
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.registry import find
from rewardfl_app.supervisor import queue, supervisor
from rewardfl_app.supervisor.supervisor import NotRunning

_POLL_SECONDS = 0.2

Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on by itself.")]
Assignments = Annotated[
    list[str], typer.Argument(metavar="SECTION.FIELD=VALUE...", help="Settings to change.", show_default=False)
]


def train(
    config: options.ConfigFile = None,
    preset: options.Preset = None,
    overrides: options.Overrides = None,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run, for people.", show_default=False)] = None,
    detach: Detach = False,
    queued: Annotated[
        bool, typer.Option("--queue", help="Start it when no other run has its devices, and return at once.")
    ] = False,
) -> int:
    """Start a run and follow it. Ctrl-C stops it with a saved checkpoint; closing the terminal does not touch it."""
    settings = options.build_config(config, preset, overrides)
    if queued:
        run = supervisor.enqueue(settings, runs_dir, name)
        queue.advance(run.path.parent)
        typer.echo(run.id)
        return 0
    run = supervisor.start(settings, runs_dir, name)
    if detach:
        typer.echo(run.id)
        return 0
    typer.echo(f"run {run.id} in {run.path}")
    return progress.follow(run)


def resume(
    run: options.RunName,
    overrides: options.Overrides = None,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    detach: Detach = False,
) -> int:
    """Go on with a run that was stopped, failed or lost, from its last checkpoint, and follow it. With --set, fields
    that apply at resume are changed; more train.max_steps continue a completed run."""
    resumed = find(runs_dir, run)
    supervisor.resume(resumed, _fields(overrides or []))
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
    """Ask a run to finish its step, save a checkpoint and end. Returns at once; `status` tells when it has. A run that
    waits in the queue is taken out of it."""
    found = find(runs_dir, run)
    if supervisor.state(found).state == "queued":
        queue.remove(found)
        typer.echo(f"took run {found.id} out of the queue")
        return 0
    try:
        supervisor.stop(found, now)
    except NotRunning as error:
        typer.echo(str(error))
        return 0
    promise = "to end without saving" if now else "to finish its step, save a checkpoint and end"
    typer.echo(f"asked run {found.id} {promise}")
    return 0


def save(
    run: options.RunName,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the receipt.")] = False,
) -> int:
    """Save a checkpoint of a running run after its present step. Waits for the trainer's receipt."""
    found = find(runs_dir, run)
    request = supervisor.save_now(found)
    if detach:
        typer.echo(f"asked run {found.id} to save a checkpoint")
        return 0
    return _receipt(found, request)


def set_fields(
    run: options.RunName,
    assignments: Assignments,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the receipts.")] = False,
) -> int:
    """Change live settings of a running run, for example train.learning_rate=1e-4, from its next step on. Waits for the
    trainer's receipts."""
    found = find(runs_dir, run)
    requests = [supervisor.set_live(found, field, value) for field, value in _fields(assignments).items()]
    if detach:
        typer.echo(f"asked run {found.id} to change {len(requests)} setting{'s' if len(requests) != 1 else ''}")
        return 0
    return max(_receipt(found, request) for request in requests)


def _receipt(run: RunFolder, request: str) -> int:
    """Wait for the receipt of a request and print it; 0 when it was met, 2 when it was refused or not met."""
    while True:
        finished = supervisor.state(run).is_finished
        answer = next((receipt for receipt in control.receipts(run) if receipt.get("id") == request), None)
        if answer is not None:
            made = not answer.get("refused") and not answer.get("dismissed")
            message = str(answer.get("message"))
            typer.echo(message if made else f"error: {message}", err=not made)
            return 0 if made else 2
        if finished:
            typer.echo(f"error: run {run.id} ended before this was done", err=True)
            return 2
        time.sleep(_POLL_SECONDS)


def _fields(assignments: list[str]) -> dict[str, Any]:
    """{section.field: value} of `section.field=value` each. Raises ConfigError."""
    sections = files.override({}, assignments)
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}
