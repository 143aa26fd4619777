"""Playground: an image and a prompt become a video, by the base model and by a run's, beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from rewardfl_app.ui.theme import asset


def page_payload(runs_dir: Path) -> dict[str, Any]:
    """What the page shows at every tick."""
    return {}


def build(runs_dir: Path) -> gr.HTML:
    """The page is one component."""
    return gr.HTML(
        value={"loading": True},
        html_template=asset("playground.html"),
        js_on_load=asset("playground.js"),
        apply_default_css=False,
        elem_id="playground",
    )
