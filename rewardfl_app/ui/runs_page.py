"""Runs: every run of the folder in one table, their differences and curves over each other, and what can be done with
them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.ui.theme import asset


def page_payload(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of the table."""
    return {"rows": rows}


def build(runs_dir: Path) -> gr.HTML:
    """The page is one component."""
    return gr.HTML(
        value={"rows": [], "loading": True},
        html_template=asset("runs.html"),
        js_on_load=asset("runs.js"),
        apply_default_css=False,
        elem_id="runs",
    )
