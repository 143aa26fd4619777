"""What a draft will take of the memory, phase by phase, and whether that fits the machine it is planned for."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from typing import Any

from rewardfl_app.config import validation
from rewardfl_app.planning import machine
from rewardfl_app.planning.machine import Machine
from rewardfl_app.planning.memory_check import Verdict
from rewardfl_app.planning.memory_side import Side
from rewardfl_app.planning.phase import GB, Phase
from rewardfl_app.supervisor import memory_verdict
from rewardfl_app.ui.config_form import Values, mapping_of, text_of

# GB of each GPU, by what the page sends; "" is this machine.
GPUS = {"24": 24.0, "48": 48.0, "80": 80.0, "141": 141.0}

_NAMED_PARTS = 4
_BEYOND = 1e6  # GB, of no machine: a slip of the keyboard, of which nothing is said
_SECONDS = 60.0
# Of the phases whose names do not follow "while".
_DOING = {
    "the leading steps": "computing the leading steps",
    "backward through the steps": "going back through the steps",
}


def view(values: Values, planned_for: object = "") -> dict[str, Any] | None:
    """What the page shows; None while a value cannot be read.

    {state: fits | short | unknown, sentence, beside, whole, usable, phases: [{name, amount, kept, added, parts:
    [{what, amount, kept}]}], peak, remedy, then}. Numbers are GB, an `amount` is text. `whole` is what the length of a
    bar stands for, `kept` what is there from loading on, `peak` the index of the largest phase. `remedy` is values for
    the form that make it fit, None where nothing does or nothing must; `then` is what the run takes with them.
    """
    config, _ = validation.examined(mapping_of(values), check_files=False)
    if config is None:
        return None
    gpu = GPUS.get(text_of(planned_for))
    there = _here(int(time.monotonic() / _SECONDS)) if gpu is None else Machine(None, None)
    try:
        verdict = memory_verdict.verdict(config, gpu, here=there)
    except (ArithmeticError, ValueError):  # counts beyond what a number holds
        return None
    several = config.deepspeed.num_processes > 1
    device = Side(verdict.plan, verdict.machine, of_device=True)
    host = Side(verdict.plan, verdict.machine, of_device=False)
    if not max(device.most, host.most) < _BEYOND:
        return None
    # The bars are of the memory that decides.
    own = not verdict.plan.on_gpu or (host.is_short and not device.is_short)
    shown, other = (host, device) if own else (device, host)
    return {
        "state": {True: "fits", False: "short", None: "unknown"}[verdict.fits],
        "sentence": _sentence(verdict, shown, several),
        "beside": f"and {_amount(other.most)} {_where(other, several)}" if verdict.plan.on_gpu else "",
        "whole": max(shown.total or 0.0, shown.most),
        "usable": shown.usable,
        "phases": [_row(shown, phase) for phase in verdict.plan.phases],
        "peak": verdict.plan.phases.index(shown.peak),
        "remedy": _remedy(verdict),
        "then": _then(verdict, shown, several),
    }


@lru_cache(maxsize=1)
def _here(period: int) -> Machine:
    """This machine, asked once in a period: the GPU's own tool takes its time."""
    return machine.here()


def _row(side: Side, phase: Phase) -> dict[str, Any]:
    """A phase as the page shows it."""
    largest = sorted(side.parts(phase), key=lambda part: -part.size)[:_NAMED_PARTS]
    kept = side.kept(phase)
    return {
        "name": phase.name[:1].upper() + phase.name[1:],
        "amount": _amount(side.of(phase)),
        "kept": kept,
        "added": side.of(phase) - kept,
        "parts": [
            {"what": part.what, "amount": _amount(part.size / GB), "kept": side.stays(part)}
            for part in largest
            if part.size
        ],
    }


def _where(side: Side, several: bool) -> str:
    if side.of_device:
        return "on each GPU" if several else "on the GPU"
    return "of the machine’s own memory"


def _sentence(verdict: Verdict, shown: Side, several: bool) -> str:
    needs, doing = _amount(shown.most), _DOING.get(shown.peak.name, shown.peak.name)
    if verdict.fits is None and shown.of_device:
        return f"Needs {needs} on {'each' if several else 'a'} GPU; this machine has none."
    if shown.usable is None:
        return f"Needs {needs}; how much memory this machine has is not known."
    where = f" {_where(shown, several)}" if verdict.plan.on_gpu else ""
    if verdict.fits:
        return f"Fits: {needs} of {_amount(shown.usable)} usable{where}, most while {doing}."
    told = f"Does not fit: {needs}{where}, {_amount(shown.usable)} usable, most while {doing}."
    return told if verdict.remedy is not None else f"{told} No setting helps: {verdict.advice}."


def _remedy(verdict: Verdict) -> dict[str, str | bool] | None:
    if not verdict.remedy:
        return None
    return {field: value if isinstance(value, bool) else text_of(value) for field, value in verdict.remedy.items()}


def _then(verdict: Verdict, shown: Side, several: bool) -> str:
    if verdict.remedied is None:
        return ""
    most = replace(shown, plan=verdict.remedied).most
    return f"{_amount(most)}{f' {_where(shown, several)}' if verdict.plan.on_gpu else ''}"


def _amount(gb: float) -> str:
    """1,234 GB, 12.3 GB, 0.12 GB."""
    digits = 0 if gb >= 99.95 else 1 if gb >= 0.995 else 2
    return f"{gb:,.{digits}f} GB"
