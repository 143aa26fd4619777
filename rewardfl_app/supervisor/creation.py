"""Making the folder of a new run, complete and ready to be started: checked settings, frozen, with what they are of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rewardfl_app.config import files
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.schema import Config
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs import about
from rewardfl_app.runs.folder import RunFolder, RunsFolderError
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import freeze, preflight, provenance


def complete(config: Config, runs_path: Path) -> Config:
    """The settings with absolute paths and the embedded files put in, after everything was checked that can be.

    Raises ConfigError with every problem of the settings, the weight files and the data, and RunsFolderError.
    """
    filled = freeze.with_embedded_scorers(freeze.absolute_paths(config))
    problems = preflight.problems(filled)
    if problems:
        raise ConfigError(problems)
    try:
        return freeze.with_embedded_data(filled, runs_path)
    except OSError as error:
        raise unwritable(runs_path, error) from error
    except DataError as error:  # a clip could not be written
        raise RunsFolderError(str(error)) from error


@contextmanager
def new_run(runs_path: Path, name: str | None) -> Iterator[RunFolder]:
    """A new run folder; it is removed again when what is done inside fails.

    Raises RunsFolderError, and AboutError for a name that cannot be kept.
    """
    run = RunFolder.create(runs_path, about.checked_name(name) if name and name.strip() else None)
    try:
        yield run
    except OSError as error:
        shutil.rmtree(run.path, ignore_errors=True)
        raise unwritable(runs_path, error) from error
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise


def fill(run: RunFolder, config: Config, parent: str | None, notes: str, tags: Sequence[str]) -> Config:
    """Write config.yaml and run.json of a run with complete settings; returns what was frozen. Raises OSError."""
    frozen = freeze.with_embedded_models(config, run)
    files.dump(frozen, run.config)
    info = {"notes": notes, "tags": list(tags), "parent": parent, **provenance.describe(frozen)}
    write_json_atomic(run.run_info, {"id": run.id, **(read_json(run.run_info) or {}), **info})
    return frozen


def unwritable(runs_path: Path, error: OSError) -> RunsFolderError:
    """The sentence on a runs folder that a file could not be written into."""
    return RunsFolderError(
        f"The runs folder {runs_path} cannot be written ({error.strerror or error}): free it or choose another."
    )
