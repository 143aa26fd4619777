"""The settings of a run: its frozen config.yaml with everything that was changed since (see `changes`)."""

from __future__ import annotations

from rewardfl_app.config import changes as config_changes
from rewardfl_app.config import files, validation
from rewardfl_app.config.schema import Config
from rewardfl_app.runs import changes
from rewardfl_app.runs.folder import RunFolder


def load(run: RunFolder, check_files: bool = True) -> Config:
    """The settings as they are now: config.yaml with every change.

    Raises ConfigError with every problem. Without check_files, the files they name need not exist on this machine.
    """
    if not run.changes.exists():
        return files.load(run.config, check_files)
    mapping = files.to_mapping(validation.build(files.read(run.config), check_files=False))
    for change in changes.read(run):
        section, _, name = change.field.partition(".")
        mapping.setdefault(section, {})[name] = change.after
    return validation.build(mapping, check_files)


def in_force(run: RunFolder, step: int, check_files: bool = True) -> Config:
    """The settings with which update `step` is made, for a trainer that starts there.

    What only applies at resume has its newest value: it was given for a start, not for a step. Raises ConfigError.
    """
    now, written = load(run, check_files), changes.read(run)
    live = set(config_changes.live_fields())
    frozen = validation.build(files.read(run.config), check_files=False) if written else now
    values = {change.field: config_changes.value(frozen, change.field) for change in written if change.field in live}
    values.update({change.field: change.after for change in written if change.step <= step and change.field in live})
    return config_changes.put(now, values) if values else now
