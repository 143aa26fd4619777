"""`check`: everything that can be seen to be wrong before a run is started, and the memory it will take."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from rewardfl_app.cli import options
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import Config
from rewardfl_app.planning import memory_text
from rewardfl_app.supervisor import memory_verdict, preflight

DeviceMemory = Annotated[
    float | None,
    typer.Option("--device-memory", min=1, metavar="GB", help="Of each GPU [default: this machine's].",
                 show_default=False),
]  # fmt: skip
HostMemory = Annotated[
    float | None,
    typer.Option("--host-memory", min=1, metavar="GB", help="Of each machine [default: this one's].",
                 show_default=False),
]  # fmt: skip


def check(
    config: options.ConfigFile = None,
    preset: options.Preset = None,
    overrides: options.Overrides = None,
    device_memory: DeviceMemory = None,
    host_memory: HostMemory = None,
    as_json: options.AsJson = False,
) -> int:
    """Check settings, weight files and data without loading a weight, and plan the memory. Exit code 2 when something
    is wrong; a plan is an estimate, and does not change it."""
    built, problems = _examined(config, preset, overrides)
    verdict = None if built is None else memory_verdict.verdict(built, device_memory, host_memory)
    if as_json:
        rows = [{"field": problem.field, "message": problem.message} for problem in problems]
        told = {"problems": rows, "memory": None if verdict is None else verdict.content()}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
        return 2 if problems else 0
    if verdict is not None:
        for line in memory_text.lines(verdict):
            typer.echo(line)
    if problems:
        raise ConfigError(problems)
    typer.echo("no problem found")
    return 0


def _examined(
    config: options.ConfigFile, preset: options.Preset, overrides: options.Overrides
) -> tuple[Config | None, list[Problem]]:
    try:
        mapping = options.read_mapping(config, preset, overrides)
    except ConfigError as error:
        return None, error.problems
    return preflight.examined(mapping)
