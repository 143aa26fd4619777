"""What was asked of a run and what came of it: the requests with their receipts, newest first."""

from __future__ import annotations

from html import escape

from rewardfl_app.notebook import style
from rewardfl_app.runs import control
from rewardfl_app.runs.changes import spoken
from rewardfl_app.runs.control import Request
from rewardfl_app.runs.folder import RunFolder

_AT_MOST = 5
_WORDS = {"stop_and_save": "Stop", "stop_now": "Stop now", "save_now": "Save now", "sample_now": "Sample now"}


def shown(run: RunFolder) -> str:
    """The newest requests as HTML, "" when nothing was asked."""
    answers = {str(receipt.get("id")): str(receipt.get("message") or "") for receipt in control.receipts(run)}
    rows = []
    for request in control.requests(run)[: -_AT_MOST - 1 : -1]:
        answer = answers.get(request.id)
        colour = style.INK if answer is None else style.GOOD
        said = escape(answer or "asked; it is answered at the end of the step")
        said = f'<span style="color:{colour}">{said}</span>'
        rows.append(f'<div style="font-size:13px"><b>{escape(_asked(request))}</b> · {said}</div>')
    return "".join(rows)


def _asked(request: Request) -> str:
    if request.kind != "set_field":
        return _WORDS.get(request.kind, request.kind)
    field = str(request.payload.get("field")).rpartition(".")[2]
    return f"{field} = {spoken(request.payload.get('value'))}"
