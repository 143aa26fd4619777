"""Train: what this does, the model, the clips, the settings, and Start."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.config.validation import ConfigError, build
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs.folder import RunError
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.supervisor import supervisor
from rewardfl_app.supervisor.freeze import uses_embedded_data
from rewardfl_app.ui import draft
from rewardfl_app.ui.config_form import form_payload, mapping_of
from rewardfl_app.ui.dataset_view import describe, embedded_clips
from rewardfl_app.ui.theme import asset

log = logging.getLogger(__name__)

FIRST_SOURCE = "preset:pocket"
NAME_LIMIT = 80


def start(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """Start a run from the form. Returns {run} or {problems: [{field, message}]}; a problem of no field has field "".

    Args:
        request: {values, source, name} as the page holds them.
    """
    name = str(request.get("name") or "").strip()[:NAME_LIMIT] or next_name(runs_dir)
    source = str(request.get("source") or "")
    parent = source.removeprefix("run:") if source.startswith("run:") else None
    try:
        config = build(mapping_of(_values(request)))
        if uses_embedded_data(config):
            embedded_clips(runs_dir)  # waits for those being rendered since the app was started
        run = supervisor.start(config, runs_dir, name=name, parent=parent)
    except ConfigError as error:
        return {"problems": [{"field": problem.field, "message": problem.message} for problem in error.problems]}
    except (DataError, RunError, OSError) as error:
        return {"problems": [{"field": "", "message": str(error)}]}
    log.info("started run %s", run.id)
    return {"run": run.id}


def next_name(runs_dir: Path) -> str:
    """Name of a run that was given none: run 1, run 2 ... over all runs of the folder."""
    return f"run {len(list_runs(runs_dir)) + 1}"


def _values(request: Mapping[str, Any]) -> dict[str, object]:
    values = request.get("values")
    return dict(values) if isinstance(values, Mapping) else {}


def dataset(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """The clips that the form's values name, see `dataset_view.describe`. Other fields may be wrong meanwhile."""
    values = _values(request)
    path = str(values.get("data.metadata_path") or "").strip() or None
    return describe(str(values.get("model.model_name") or ""), path, runs_dir)


def page_value(runs_dir: Path) -> dict[str, Any]:
    """What the page starts with: the form, the sources and the values of the first source."""
    return {
        "form": form_payload(),
        "sources": draft.sources(runs_dir),
        "source": FIRST_SOURCE,
        "values": draft.source_values(FIRST_SOURCE, runs_dir),
    }


def build_page(runs_dir: Path) -> gr.HTML:
    """The page is one component; it asks the server functions for everything."""

    def review(request: dict[str, Any]) -> dict[str, Any]:
        return draft.review(_values(request), str(request.get("source")), runs_dir)

    def load_source(request: dict[str, Any]) -> dict[str, Any]:
        source = str(request.get("source"))
        try:
            return {"source": source, "values": draft.source_values(source, runs_dir)}
        except draft.SourceError as error:
            return {"error": str(error)}

    def load_dataset(request: dict[str, Any]) -> dict[str, Any]:
        return dataset(request, runs_dir)

    def start_run(request: dict[str, Any]) -> dict[str, Any]:
        return start(request, runs_dir)

    def list_sources(request: dict[str, Any]) -> list[dict[str, Any]]:
        return draft.sources(runs_dir)

    return gr.HTML(
        value=page_value(runs_dir),
        html_template=asset("train.html"),
        js_on_load=asset("train.js"),
        apply_default_css=False,
        elem_id="train",
        server_functions=[review, load_source, load_dataset, start_run, list_sources],
    )
