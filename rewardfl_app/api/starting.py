"""Starting runs and finding them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rewardfl_app.api.run import Run
from rewardfl_app.config import files, presets, validation
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import registry
from rewardfl_app.runs.jsonlines import Record
from rewardfl_app.supervisor import queue, reconcile, supervisor

RUNS_DIR = "runs"

# A preset's name, the path of a YAML file, or a configuration itself.
Source = str | Path | Config


def configure(source: Source = "pocket", changes: Mapping[str, Any] | None = None) -> Config:
    """A configuration to start with.

    Args:
        source: a preset's name, the path of a YAML file, or a configuration.
        changes: values by `section.field`, for example {"train.max_steps": 20}.

    Raises ConfigError with every problem.
    """
    return validation.build(to_mapping(source, changes))


def to_mapping(source: Source, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same as a nested mapping, unchecked. Raises ConfigError where it cannot be read."""
    if isinstance(source, Config):
        mapping = files.to_mapping(source)
    elif isinstance(source, str) and source in presets.names():
        mapping = files.to_mapping(presets.preset(source))
    else:
        mapping = files.read(Path(source))
    for name, value in (changes or {}).items():
        section, dot, field = name.partition(".")
        if not dot:
            raise ConfigError([Problem(name, f"{name} is no setting: name it as section.field.")])
        mapping[section] = {**(mapping.get(section) or {}), field: value}
    return mapping


def start(
    source: Source = "pocket",
    changes: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    runs_dir: str | Path = RUNS_DIR,
    queued: bool = False,
) -> Run:
    """Starts training and returns at once. Arguments as of `configure`.

    `queued`: start when no other run has its devices. Raises ConfigError with every problem, DevicesBusy.
    """
    config = configure(source, changes)
    if not queued:
        return Run(supervisor.start(config, runs_dir, name))
    run = supervisor.enqueue(config, runs_dir, name)
    queue.advance(run.path.parent)
    return Run(run)


def list_runs(runs_dir: str | Path = RUNS_DIR) -> list[Run]:
    """The runs of a folder, newest first."""
    folder = Path(runs_dir).expanduser().absolute()
    reconcile.reconcile(folder)
    return [Run(run) for run in registry.list_runs(folder)]


def find(run: str | Path | None = None, runs_dir: str | Path = RUNS_DIR) -> Run:
    """A run by its id, its folder or its name; None: the newest. Raises RunNotFound."""
    folder = Path(runs_dir).expanduser().absolute()
    known = registry.list_runs(folder)
    if run is None:
        if not known:
            raise registry.RunNotFound(f"There is no run in {folder} yet.")
        return Run(known[0])
    named = [each for each in map(Run, known) if each.name == str(run)]
    return named[0] if named else Run(registry.find(folder, run))


def follow(run: Run) -> Iterator[Record]:
    """Every record of a run as it comes, until it has ended: see `Run.follow`."""
    return run.follow()
