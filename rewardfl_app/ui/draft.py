"""The settings being edited: where they come from, what is wrong with them, what differs, what they will take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from rewardfl_app.config import presets
from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import Config
from rewardfl_app.config.validation import build
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import supervisor
from rewardfl_app.supervisor.thaw import without_embedded
from rewardfl_app.ui import memory_card, run_estimate
from rewardfl_app.ui.charts import number
from rewardfl_app.ui.config_form import Change, Values, changes, mapping_of, text_of, values_of
from rewardfl_app.ui.model_needs import needs

NUM_RUN_SOURCES = 20
NAME_LIMIT = 80
_NAMED_CHANGES = 2
_TABLES = ("data.metadata_path", "evaluation.metadata_path")


class SourceError(Exception):
    """Settings that were to be loaded are missing or unreadable; the message is one sentence."""


def sources(runs_dir: Path, chosen: str = "") -> list[dict[str, Any]]:
    """Where settings can be taken from: presets, then the newest runs and the chosen one.

    [{id, title, kind}], of a preset with `text` (for whom it is) and `family`, of a run with `started`. A run that was
    put away is left out unless it is the chosen one.
    """
    found = [_preset_source(name) for name in presets.names()]
    rows = 0
    for run in list_runs(runs_dir):
        wanted = f"run:{run.id}" == chosen
        if (rows < NUM_RUN_SOURCES or wanted) and run.config.is_file():
            info = read_json(run.run_info) or {}
            if wanted or not info.get("archived"):
                found.append(_run_source(run, info))
                rows += 1
    return found


def _preset_source(name: str) -> dict[str, Any]:
    preset, family = presets.PRESETS[name], presets.preset(name).model.model_name
    return {"id": f"preset:{name}", "title": preset.title, "text": preset.text, "kind": "preset", "family": family}


def _run_source(run: RunFolder, info: dict[str, Any]) -> dict[str, Any]:
    title = str(info.get("name") or run.id)
    return {"id": f"run:{run.id}", "title": title, "kind": "run", "started": number(info.get("created"))}


def parent_of(source: str, runs_dir: Path) -> RunFolder | None:
    """The run that these settings are a fork of; None for a preset, and for a run that is gone."""
    kind, _, name = source.partition(":")
    return next((run for run in list_runs(runs_dir) if kind == "run" and run.id == name), None)


def source_config(source: str, runs_dir: Path) -> Config:
    """The settings of a preset ("preset:pocket") or of a run ("run:ID"), without the files of the embedded family.

    Raises:
        SourceError: there is no such source, or the run's settings cannot be read.
    """
    kind, _, name = source.partition(":")
    if kind == "preset" and name in presets.names():
        return presets.preset(name)
    run = parent_of(source, runs_dir)
    if run is None:
        raise SourceError(f"There are no settings called {source!r}.")
    try:
        return without_embedded(supervisor.settings(run))
    except (ConfigError, OSError) as error:
        raise SourceError(f"The settings of run {run.id} cannot be read: {error}") from error


def source_values(source: str, runs_dir: Path) -> dict[str, str | bool]:
    """The form's values of a source. Raises SourceError."""
    run = parent_of(source, runs_dir)
    stamps = () if run is None else tuple(_modified(path) for path in (run.config, run.changes))
    return dict(_source_values(source, runs_dir, stamps))


@lru_cache(maxsize=256)
def _source_values(source: str, runs_dir: Path, stamps: tuple[int, ...]) -> dict[str, str | bool]:
    return values_of(source_config(source, runs_dir))


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def problems(values: Values) -> list[Problem]:
    """Everything wrong with the values, each with the field it belongs to; also files that do not exist, and rows of
    the tables of clips that name none. The clips themselves are not opened here.
    """
    try:
        config = build(mapping_of(values))
    except ConfigError as error:
        wrong = {problem.field for problem in error.problems}
        paths = {field: text_of(values.get(field)).strip() for field in _TABLES if field not in wrong}
        return [*error.problems, *_table_problems(paths)]
    return _table_problems(
        {
            "data.metadata_path": config.data.metadata_path or "",
            "evaluation.metadata_path": config.evaluation.metadata_path or "",
        }
    )


def _table_problems(paths: dict[str, str]) -> list[Problem]:
    from rewardfl_app.data import manifest  # brings PyAV, see media.first_frame

    found = []
    for field, path in paths.items():
        try:
            if path:
                manifest.read(path)
        except DataError as error:
            found.append(Problem(field, str(error)))
    return found


def suggested_name(values: Values, source: str, runs_dir: Path) -> str:
    """Name of a run that was given none: its parent's with what was changed, else run 1, run 2 ... of the folder."""
    runs = list_runs(runs_dir)
    parent = parent_of(source, runs_dir)
    if parent is not None:
        changed = _changes_from(source, values, runs_dir)
        told = ", ".join(f"{change.field.partition('.')[2]} {change.after or 'empty'}" for change in changed)
        what = told if 0 < len(changed) <= _NAMED_CHANGES else "again" if not changed else f"{len(changed)} changes"
        name = str((read_json(parent.run_info) or {}).get("name") or parent.id)
        return f"{name[: max(8, NAME_LIMIT - len(what) - 2)]}, {what}"[:NAME_LIMIT]
    return f"run {len(runs) + 1}"


def review(values: Values, source: str, runs_dir: Path, planned_for: object = "") -> dict[str, Any]:
    """What the page shows beside the form: problems, differences from source and last run, what is missing, the name
    it gets if none is given, about how long it takes, and what memory on the machine it is `planned_for`.
    """
    return {
        "problems": [{"field": problem.field, "message": problem.message} for problem in problems(values)],
        "changes": [asdict(change) for change in _changes_from(source, values, runs_dir)],
        "since_last": _since_last(values, runs_dir),
        "needs": [asdict(need) for need in needs(values)],
        "name": suggested_name(values, source, runs_dir),
        "estimate": _estimate(values, runs_dir),
        "memory": memory_card.view(values, planned_for),
    }


def _changes_from(source: str, values: Values, runs_dir: Path) -> list[Change]:
    try:
        return changes(source_values(source, runs_dir), values)
    except SourceError:
        return []


def _since_last(values: Values, runs_dir: Path) -> dict[str, Any] | None:
    last = next((run for run in list_runs(runs_dir) if run.config.is_file()), None)
    if last is None:
        return None
    name = str((read_json(last.run_info) or {}).get("name") or last.id)
    changed = [asdict(change) for change in _changes_from(f"run:{last.id}", values, runs_dir)]
    return {"run": last.id, "name": name, "changes": changed}


def _estimate(values: Values, runs_dir: Path) -> dict[str, Any] | None:
    """{seconds, run, name, step_seconds} by the newest run of the same shape."""
    told = run_estimate.estimate(values, _earlier(runs_dir))
    if told is None:
        return None
    seconds, run, pace = told
    name = str((read_json(run.run_info) or {}).get("name") or run.id)
    return {"seconds": round(seconds), "run": run.id, "name": name, "step_seconds": round(pace.step, 3)}


def _earlier(runs_dir: Path) -> Iterator[tuple[RunFolder, Values]]:
    for run in list_runs(runs_dir)[:NUM_RUN_SOURCES]:
        try:
            yield run, source_values(f"run:{run.id}", runs_dir)
        except SourceError:
            continue
