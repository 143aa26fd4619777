"""The settings being edited: where they come from, what is wrong with them, what differs, what is still missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.config import files, presets
from rewardfl_app.config.schema import Config
from rewardfl_app.config.validation import ConfigError, Problem, build
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.ui.charts import number
from rewardfl_app.ui.config_form import Change, Values, changes, mapping_of, text_of, values_of

PRESET_TITLES = {"pocket": "Pocket", "wan22_i2v_a14b": "Wan2.2-I2V-A14B"}
NUM_RUN_SOURCES = 20
# Filled in by the supervisor when a run of the embedded family starts; no difference a person made.
_EMBEDDED = frozenset(
    {
        "model.model_paths",
        "model.tokenizer_path",
        "data.metadata_path",
        "evaluation.metadata_path",
        "reward.reward_model_path",
        "reward.judge_model_path",
    }
)


class SourceError(Exception):
    """Settings that were to be loaded are missing or unreadable; the message is one sentence."""


@dataclass(frozen=True)
class Need:
    """One thing a model family needs. `state` is "ready", "missing" or "optional"; `text` says what to get, where."""

    field: str
    title: str
    state: str
    text: str


def sources(runs_dir: Path) -> list[dict[str, Any]]:
    """Where settings can be taken from: presets first, then the newest runs. [{id, title, kind, started}]."""
    found: list[dict[str, Any]] = [
        {"id": f"preset:{name}", "title": PRESET_TITLES.get(name, name), "kind": "preset"} for name in presets.names()
    ]
    runs = [run for run in list_runs(runs_dir)[:NUM_RUN_SOURCES] if run.config.is_file()]
    return found + [_run_source(run) for run in runs]


def _run_source(run: RunFolder) -> dict[str, Any]:
    info = read_json(run.run_info) or {}
    title = str(info.get("name") or run.id)
    return {"id": f"run:{run.id}", "title": title, "kind": "run", "started": number(info.get("created"))}


def source_config(source: str, runs_dir: Path) -> Config:
    """The settings of a preset ("preset:pocket") or of a run ("run:ID").

    Raises:
        SourceError: there is no such source, or the run's config.yaml cannot be read.
    """
    kind, _, name = source.partition(":")
    if kind == "preset" and name in presets.names():
        return presets.preset(name)
    run = next((run for run in list_runs(runs_dir) if kind == "run" and run.id == name), None)
    if run is None:
        raise SourceError(f"There are no settings called {source!r}.")
    try:
        return files.load(run.config)
    except (ConfigError, OSError) as error:
        raise SourceError(f"The settings of run {run.id} cannot be read: {error}") from error


def source_values(source: str, runs_dir: Path) -> dict[str, str | bool]:
    """The form's values of a source; a run of the embedded family gives its embedded paths back as empty."""
    values = values_of(source_config(source, runs_dir))
    if source.startswith("run:") and values.get("model.model_name") == "pocket":
        values = {key: _without_embedded(key, value, runs_dir) for key, value in values.items()}
    return values


def _without_embedded(key: str, value: str | bool, runs_dir: Path) -> str | bool:
    """Empty for a path into the package or into the runs folder, which only the supervisor can have put there."""
    if key not in _EMBEDDED or not isinstance(value, str) or not value:
        return value
    package = Path(__file__).resolve().parent.parent
    inside = any(Path(value).is_relative_to(folder) for folder in (package, runs_dir.resolve(), runs_dir.absolute()))
    return "" if inside else value


def problems(values: Values) -> list[Problem]:
    """Everything wrong with the values, each with the field it belongs to; also files that do not exist."""
    try:
        build(mapping_of(values))
    except ConfigError as error:
        return list(error.problems)
    return []


def needs(values: Values) -> list[Need]:
    """What the chosen family needs on disk and whether it is named; empty for `pocket`, which brings everything."""
    if values.get("model.model_name") != "wan2_2":
        return []
    cached = text_of(values.get("model.model_id_with_origin_paths")).strip()
    weights = _need(
        values,
        "model.model_paths",
        "Wan2.2 weights",
        "Download Wan-AI/Wan2.2-I2V-A14B and the distilled transformers of lightx2v/Wan2.2-Lightning. Write a JSON "
        "list of four paths (high-noise model, low-noise model, text encoder, VAE) and give that file as model_paths.",
    )
    if cached and weights.state == "missing":
        weights = Need(weights.field, weights.title, "ready", "Looked up in the Hugging Face cache.")
    return [
        weights,
        _need(
            values,
            "model.tokenizer_path",
            "Tokenizer",
            "The folder google/umt5-xxl of the Wan2.2 download goes into tokenizer_path. Empty: from Hugging Face.",
            optional=True,
        ),
        _need(
            values,
            "reward.reward_model_path",
            "Face pack",
            "Download antelopev2.zip from insightface's releases, unzip its ONNX files into one folder and give that "
            "folder as reward_model_path.",
        ),
        _need(
            values,
            "data.metadata_path",
            "Your clips",
            "A metadata.csv with the columns video and prompt; the first frame of every clip must show a face. Give it "
            "as metadata_path.",
        ),
    ]


def _need(values: Values, field: str, title: str, text: str, optional: bool = False) -> Need:
    path = text_of(values.get(field)).strip()
    if path and Path(path).expanduser().exists():
        return Need(field, title, "ready", path)
    if optional and not path:
        return Need(field, title, "optional", text)
    return Need(field, title, "missing", f"{path} does not exist. {text}" if path else text)


def review(values: Values, source: str, runs_dir: Path) -> dict[str, Any]:
    """What the page shows beside the form: problems, differences from source and last run, what is missing."""
    return {
        "problems": [{"field": problem.field, "message": problem.message} for problem in problems(values)],
        "changes": [asdict(change) for change in _changes_from(source, values, runs_dir)],
        "since_last": _since_last(values, runs_dir),
        "needs": [asdict(need) for need in needs(values)],
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
    return {
        "run": last.id,
        "changes": [asdict(change) for change in _changes_from(f"run:{last.id}", values, runs_dir)],
    }
