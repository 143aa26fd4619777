"""Train: the model, the clips, the settings, and Start; also what a fork of an earlier run is made with."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.config import family
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.config.validation import build
from rewardfl_app.data.errors import DataError
from rewardfl_app.runs import content
from rewardfl_app.runs.folder import RunError
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.status import FINAL_STATES
from rewardfl_app.supervisor import supervisor
from rewardfl_app.supervisor.freeze import uses_embedded_data
from rewardfl_app.ui import dataset_check, draft, memory_card
from rewardfl_app.ui.component import component
from rewardfl_app.ui.config_form import form_payload, mapping_of
from rewardfl_app.ui.dataset_view import embedded_clips
from rewardfl_app.ui.theme import asset

log = logging.getLogger(__name__)

FIRST_SOURCE = "preset:pocket"
PARTS = ("train_form.js", "train_draft.js", "train_clips.js", "train_memory.js", "train_side.js", "train.js")


def page_payload(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the page must know of the other runs: {newest, active, num_queued}; `active` is the run that is going on.

    Args:
        rows: every run as the header lists them, newest first.
    """
    waiting = [row for row in rows if row["state"] == "queued"]
    going = [row for row in rows if row["state"] != "queued" and row["state"] not in FINAL_STATES]
    active = {"id": going[0]["id"], "name": going[0]["name"], "state": going[0]["state"]} if going else None
    return {"newest": rows[0]["id"] if rows else None, "active": active, "num_queued": len(waiting)}


def start(request: Mapping[str, Any], runs_dir: Path) -> dict[str, Any]:
    """Start or queue a run from the form. Returns {run, name, queued, again} or {problems: [{field, message}]}.

    A problem of no field has field "". `again` says that the run was there already: the same form, sent twice, by two
    clicks or from two pages, gives one run. Once a page has seen that run, the same form makes another.

    Args:
        request: {values, source, name, queue, anyway, seen} as the page holds them; `anyway` lets the run share its
            devices with one that is active, `seen` is the newest run it knows of.
    """
    values, source = _values(request), str(request.get("source") or "")
    given = str(request.get("name") or "").strip()[: draft.NAME_LIMIT]
    parent = draft.parent_of(source, runs_dir)
    queue = bool(request.get("queue"))
    before = {run.id for run in list_runs(runs_dir)}
    asked = {"name": given, "queue": queue, "source": source, "seen": str(request.get("seen") or "")}
    try:
        mapping = mapping_of(values)
        if request.get("anyway") is True:  # beside the run that the page shows, and the person has seen
            mapping.setdefault("deepspeed", {})["share_devices"] = True
        config = build(mapping)
        if uses_embedded_data(config):
            embedded_clips(runs_dir)  # waits for those being rendered since the app was started
        make = supervisor.enqueue if queue else supervisor.start
        name = given or draft.suggested_name(values, source, runs_dir)
        token = content.digest({**asked, "config": config.model_dump(mode="json")})
        run = make(config, runs_dir, name=name, parent=parent.id if parent else None, token=token)
    except ConfigError as error:
        return {"problems": [{"field": problem.field, "message": problem.message} for problem in error.problems]}
    except (DataError, RunError, OSError) as error:
        return {"problems": [{"field": "", "message": str(error)}]}
    log.info("%s run %s", "queued" if queue else "started", run.id)
    return {"run": run.id, "name": name, "queued": queue, "again": run.id in before}


def _values(request: Mapping[str, Any]) -> dict[str, object]:
    values = request.get("values")
    return dict(values) if isinstance(values, Mapping) else {}


def _script(runs_dir: Path) -> str:
    """The page's scripts. The form is a constant in them: a component's own properties may come too late."""
    first = {
        "form": form_payload(),
        "sources": [source for source in draft.sources(runs_dir) if source["kind"] == "preset"],
        "mixtures": [name for name, kind in family.FAMILIES.items() if kind.is_mixture],
        "source": FIRST_SOURCE,
        "values": draft.source_values(FIRST_SOURCE, runs_dir),
        "gpus": list(memory_card.GPUS),
    }
    return "\n".join([f"const FIRST = {json.dumps(first)};", *(asset(name) for name in PARTS)])


def build_page(runs_dir: Path) -> gr.HTML:
    """The page is one component; it asks the server functions for everything but what a tick tells (`page_payload`)."""

    def review(request: dict[str, Any]) -> dict[str, Any]:
        return draft.review(_values(request), str(request.get("source")), runs_dir, request.get("planned_for"))

    def load_source(request: dict[str, Any]) -> dict[str, Any]:
        source = str(request.get("source"))
        try:
            return {"source": source, "values": draft.source_values(source, runs_dir)}
        except draft.SourceError as error:
            return {"error": str(error)}

    def list_sources(request: dict[str, Any]) -> list[dict[str, Any]]:
        return draft.sources(runs_dir, str(request.get("source")))

    def start_run(request: dict[str, Any]) -> dict[str, Any]:
        return start(request, runs_dir)

    def load_clips(request: dict[str, Any]) -> dict[str, Any]:
        return dataset_check.view(request, runs_dir)

    def find_faces(request: dict[str, Any]) -> dict[str, Any]:
        return dataset_check.start(request, runs_dir)

    def finding(request: dict[str, Any]) -> dict[str, Any]:
        return {"check": dataset_check.progress(request, runs_dir)}

    def stop_finding(request: dict[str, Any]) -> dict[str, Any]:
        return dataset_check.cancel(request, runs_dir)

    return component(
        "train",
        {"newest": None, "active": None, "num_queued": 0, "loading": True},
        _script(runs_dir),
        [review, load_source, list_sources, start_run, load_clips, find_faces, finding, stop_finding],
    )
