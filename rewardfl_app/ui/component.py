"""A page's own component: static HTML, a script, and functions of the server that the script may call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import gradio as gr

from rewardfl_app.runs.jsontext import whole_characters
from rewardfl_app.ui.theme import asset

Answer = Callable[[dict[str, Any]], Any]


def component(name: str, value: dict[str, Any], script: str | None = None, functions: Sequence[Answer] = ()) -> gr.HTML:
    """The component `name` with the files NAME.html and NAME.js of the assets folder.

    Args:
        value: what the script finds in `props.value` at first; text goes in by the script, as text.
        script: in place of NAME.js.
        functions: take one request, a mapping; the script calls them as `server.NAME(request)`.
    """
    return gr.HTML(
        value=value,
        html_template=asset(f"{name}.html"),
        js_on_load=asset(f"{name}.js") if script is None else script,
        apply_default_css=False,
        elem_id=name.replace("_", "-"),
        server_functions=[_of_mapping(function) for function in functions],
    )


def _of_mapping(function: Answer) -> Answer:
    """Whoever can reach the page can send anything; what is no mapping counts as an empty one, and half a character,
    which no answer could repeat, as "?".
    """

    @wraps(function)
    def answer(request: object) -> Any:
        return function(whole_characters(request) if isinstance(request, dict) else {})

    return answer
