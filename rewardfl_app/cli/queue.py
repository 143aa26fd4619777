"""`queue`: the runs that wait for their turn."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rewardfl_app.cli import options
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import find
from rewardfl_app.supervisor import queue as waiting


def queue(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A waiting run, to move or remove.", show_default=False)
    ] = None,
    move: Annotated[
        int | None, typer.Option("--move", metavar="PLACES", help="Move RUN; -1 is one earlier.", show_default=False)
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take RUN out; `resume` starts it.")] = False,
    runs_dir: options.RunsDir = options.DEFAULT_RUNS_DIR,
    as_json: options.AsJson = False,
) -> int:
    """List the runs that wait, first to start first; each starts by itself when its devices are free."""
    folder = runs_dir.expanduser().absolute()
    if run is None and (move is not None or remove):
        raise ConfigError([Problem("queue", "Name the run to move or remove: queue RUN --move -1.")])
    if run is not None:
        if (move is not None) == remove:
            raise ConfigError([Problem("queue", "Say what to do with the run: --move PLACES or --remove.")])
        found = find(folder, run)
        if move is None:
            waiting.remove(found)
        else:
            waiting.move(found, move)
    waiting.advance(folder)
    rows = [
        {"place": place, "id": one.id, "name": (read_json(one.run_info) or {}).get("name") or one.id}
        for place, one in enumerate(waiting.queued(folder), 1)
    ]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return 0
    if not rows:
        typer.echo(f"no run waits in {folder}")
    for row in rows:
        typer.echo(f"{row['place']}  {row['id']}  {row['name']}")
    return 0
