"""In which settings runs differ: what people set, without the files that the embedded family brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardfl_app.config import files
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.supervisor import supervisor, thaw
from rewardfl_app.ui.config_form import SECTION_TITLES, label, text_of, values_of

ABSENT = "not known then"  # a setting that the version which wrote the run did not have


def settings_of(run: RunFolder) -> dict[str, str]:
    """{"train.seed": "42", ...} with what was changed while the run went on.

    Settings of another version that can no longer be checked are given as they are written. Raises ConfigError when
    there are none to read.
    """
    try:
        values: Mapping[str, object] = values_of(thaw.without_embedded(supervisor.settings(run)))
    except ConfigError:
        written = files.read(run.config)
        sections = {name: fields for name, fields in written.items() if isinstance(fields, dict)}
        values = {f"{name}.{key}": value for name, fields in sections.items() for key, value in fields.items()}
    return {name: text_of(value).strip() for name, value in values.items()}


def difference(runs: Sequence[RunFolder]) -> dict[str, Any]:
    """{runs [{id, name}], rows [{field, label, section, values}], num_same, unreadable [{run, message}]}.

    `values` are in the order of `runs`, None where the run has no such setting. Runs whose settings cannot be read are
    left out of `runs`.
    """
    read: list[tuple[RunFolder, dict[str, str]]] = []
    unreadable = []
    for run in runs:
        try:
            read.append((run, settings_of(run)))
        except (ConfigError, OSError) as error:
            unreadable.append({"run": run.id, "message": str(error)})
    names = list(dict.fromkeys(name for _, values in read for name in values))
    rows = [_row(name, [values.get(name) for _, values in read]) for name in names]
    different = [row for row in rows if len(set(row["values"])) > 1]
    return {
        "runs": [{"id": run.id, "name": name_of(run)} for run, _ in read],
        "rows": different,
        "num_same": len(rows) - len(different),
        "unreadable": unreadable,
    }


def name_of(run: RunFolder) -> str:
    """The name of a run, for people."""
    return str((read_json(run.run_info) or {}).get("name") or run.id)


def _row(field: str, values: list[str | None]) -> dict[str, Any]:
    section, _, name = field.partition(".")
    return {"field": field, "label": label(name), "section": SECTION_TITLES.get(section, section), "values": values}
