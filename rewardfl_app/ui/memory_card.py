"""What a draft will take of the memory, phase by phase, and whether that fits the machine it is planned for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rewardfl_app.config import validation
from rewardfl_app.planning import machine, memory_check, memory_plan
from rewardfl_app.planning.machine import Machine
from rewardfl_app.planning.memory_check import Verdict
from rewardfl_app.planning.memory_plan import Part, Phase
from rewardfl_app.supervisor import memory_verdict
from rewardfl_app.ui.config_form import Values, mapping_of, text_of

# GB of each GPU, by what the page sends; "" is this machine.
GPUS = {"24": 24.0, "48": 48.0, "80": 80.0, "141": 141.0}

_LOADING = "loading"  # from this phase on, what it took stays
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
    device = _Side("on each GPU" if several else "on the GPU", verdict, of_device=True)
    host = _Side("of the machine’s own memory", verdict, of_device=False)
    if not max(device.most, host.most) < _BEYOND:
        return None
    # The bars are of the memory that decides.
    own = not verdict.plan.on_gpu or (host.is_short and not device.is_short)
    shown, other = (host, device) if own else (device, host)
    return {
        "state": {True: "fits", False: "short", None: "unknown"}[verdict.fits],
        "sentence": _sentence(verdict, shown, several),
        "beside": f"and {_amount(other.most)} {other.where}" if verdict.plan.on_gpu else "",
        "whole": max(shown.total or 0.0, shown.most),
        "usable": shown.usable,
        "phases": [shown.row(phase) for phase in verdict.plan.phases],
        "peak": verdict.plan.phases.index(shown.peak),
        "remedy": _remedy(verdict),
        "then": _then(verdict, shown),
    }


@lru_cache(maxsize=1)
def _here(period: int) -> Machine:
    """This machine, asked once in a period: the GPU's own tool takes its time."""
    return machine.here()


@dataclass(frozen=True)
class _Side:
    """The memory of each GPU, or the machine's own: what the phases take of it, and what there is (None: not known)."""

    where: str
    verdict: Verdict
    of_device: bool

    @property
    def total(self) -> float | None:
        return self.verdict.machine.device if self.of_device else self.verdict.machine.host

    @property
    def usable(self) -> float | None:
        share = memory_check.USABLE_DEVICE if self.of_device else memory_check.USABLE_HOST
        return None if self.total is None else self.total * share

    @property
    def peak(self) -> Phase:
        return self.verdict.plan.device_peak if self.of_device else self.verdict.plan.host_peak

    @property
    def most(self) -> float:
        return self.of(self.peak)

    @property
    def is_short(self) -> bool:
        return self.usable is not None and self.most > self.usable

    def of(self, phase: Phase) -> float:
        return phase.device_gb if self.of_device else phase.host_gb

    def parts(self, phase: Phase) -> list[Part]:
        return phase.device if self.of_device else phase.host

    def row(self, phase: Phase) -> dict[str, Any]:
        """A phase as the page shows it."""
        loading = next(other for other in self.verdict.plan.phases if other.name == _LOADING)
        stays = {part.what for part in self.parts(loading)}
        parts = sorted(self.parts(phase), key=lambda part: -part.size)
        kept = sum(part.size for part in parts if part.what in stays) / memory_plan.GB
        return {
            "name": phase.name[:1].upper() + phase.name[1:],
            "amount": _amount(self.of(phase)),
            "kept": kept,
            "added": self.of(phase) - kept,
            "parts": [
                {"what": part.what, "amount": _amount(part.size / memory_plan.GB), "kept": part.what in stays}
                for part in parts[:_NAMED_PARTS]
                if part.size
            ],
        }


def _sentence(verdict: Verdict, shown: _Side, several: bool) -> str:
    needs, doing = _amount(shown.most), _DOING.get(shown.peak.name, shown.peak.name)
    if verdict.fits is None and shown.of_device:
        return f"Needs {needs} on {'each' if several else 'a'} GPU; this machine has none."
    if shown.usable is None:
        return f"Needs {needs}; how much memory this machine has is not known."
    where = f" {shown.where}" if verdict.plan.on_gpu else ""
    if verdict.fits:
        return f"Fits: {needs} of {_amount(shown.usable)} usable{where}, most while {doing}."
    told = f"Does not fit: {needs}{where}, {_amount(shown.usable)} usable, most while {doing}."
    return told if verdict.remedy is not None else f"{told} No setting helps: {verdict.advice}."


def _remedy(verdict: Verdict) -> dict[str, str | bool] | None:
    if not verdict.remedy:
        return None
    return {field: value if isinstance(value, bool) else text_of(value) for field, value in verdict.remedy.items()}


def _then(verdict: Verdict, shown: _Side) -> str:
    if verdict.remedied is None:
        return ""
    peak = verdict.remedied.device_peak.device_gb if shown.of_device else verdict.remedied.host_peak.host_gb
    return f"{_amount(peak)}{f' {shown.where}' if verdict.plan.on_gpu else ''}"


def _amount(gb: float) -> str:
    """1,234 GB, 12.3 GB, 0.12 GB."""
    digits = 0 if gb >= 99.95 else 1 if gb >= 0.995 else 2
    return f"{gb:,.{digits}f} GB"
