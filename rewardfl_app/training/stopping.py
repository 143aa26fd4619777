"""Requests from outside, read by rank 0 at the step boundary and decided on by all ranks together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardfl_app.runs import control
from rewardfl_app.runs.control import KINDS, Request

if TYPE_CHECKING:
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.ranks import Ranks


@dataclass(frozen=True)
class Decision:
    """What all ranks do now. `requests` are those that led to it, known to rank 0 alone.

    `changes`: requests of the kind set_field, which `live` answers, known to rank 0 alone; None when there are none.
    """

    stop: bool = False
    save: bool = False
    sample: bool = False
    requests: tuple[Request, ...] = ()
    changes: tuple[Request, ...] | None = None


def decide(run: RunFolder, ranks: Ranks) -> Decision:
    """The decision at this step boundary, the same on every rank; stop_now wins over stop_and_save."""
    found = tuple(control.pending(run)) if ranks.is_first else ()
    asked = ranks.from_first([int(any(request.kind == kind for request in found)) for kind in KINDS])
    kinds = {kind for kind, flag in zip(KINDS, asked, strict=True) if flag}
    stop = bool(kinds & {"stop_now", "stop_and_save"})
    return Decision(
        stop=stop,
        save="stop_now" not in kinds and bool(kinds & {"stop_and_save", "save_now"}),
        sample="sample_now" in kinds and not stop,
        requests=tuple(request for request in found if request.kind != "set_field"),
        changes=tuple(request for request in found if request.kind == "set_field") if "set_field" in kinds else None,
    )


def wants_to_stop_now(run: RunFolder, ranks: Ranks) -> bool:
    """Whether stop_now was asked for, agreed by all ranks: looked at inside long work that may be abandoned."""
    found = ranks.is_first and any(request.kind == "stop_now" for request in control.pending(run))
    return bool(ranks.from_first([int(found)])[0])


def acknowledge(run: RunFolder, decision: Decision, step: int, saved: bool, sampled: bool) -> None:
    """Writes the receipts of a decision that was carried out after update `step` (rank 0 only)."""
    checkpoint = f"checkpoint step_{step:06d}" if step else "nothing, as no update was made yet"
    for request in decision.requests:
        if request.kind == "stop_now":
            message = f"Stopped after step {step} without saving."
        elif request.kind == "stop_and_save":
            message = (
                f"Stopped after step {step}; saved {checkpoint}."
                if saved or not step
                else f"Stopped after step {step}."
            )
        elif request.kind == "save_now":
            message = f"Saved {checkpoint}." if saved or not step else "Not saved: the run was stopped at once."
        else:
            message = (
                f"Rendered the evaluation videos after step {step}."
                if sampled
                else "Not rendered: the run was stopped."
            )
        control.acknowledge(run, request.id, message, step=step)
