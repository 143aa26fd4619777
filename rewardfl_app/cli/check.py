"""`check`: everything that can be seen to be wrong before a run is started."""

from __future__ import annotations

import json

import typer

from rewardfl_app.cli import options
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.supervisor import freeze, preflight


def check(
    config: options.ConfigFile = None,
    preset: options.Preset = None,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> int:
    """Check settings, weight files and data without loading a weight. Exit code 2 when something is wrong."""
    problems = _problems(config, preset, overrides)
    if as_json:
        rows = [{"field": problem.field, "message": problem.message} for problem in problems]
        typer.echo(json.dumps({"problems": rows}, ensure_ascii=False, indent=1))
        return 2 if problems else 0
    if problems:
        raise ConfigError(problems)
    typer.echo("no problem found")
    return 0


def _problems(config: options.ConfigFile, preset: options.Preset, overrides: options.Overrides) -> list[Problem]:
    try:
        built = options.build_config(config, preset, overrides)
    except ConfigError as error:
        return error.problems
    return preflight.problems(freeze.with_embedded_scorers(freeze.absolute_paths(built)))
