"""Settings that change while a run goes on: those asked for now, and those written down for a step still to come.

Rank 0 accepts a request, writes the change to changes.jsonl and tells the others; every rank then goes on with the same
settings from the same update on. A start from an earlier checkpoint meets the written changes again at their steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewardfl_app.config import changes as config_changes
from rewardfl_app.config import schedule
from rewardfl_app.config.problems import ConfigError
from rewardfl_app.runs import changes, control
from rewardfl_app.runs.changes import Change

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.runs.control import Request
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.ranks import Ranks

# Weights that need something loaded as soon as they are not 0.
_WEIGHTS = ("reward.kl_weight", "reward.anchor_weight")


class _Refused(Exception):
    """Why a request changes nothing, as the end of a sentence."""


class LiveSettings:
    """The settings in force, from the update on that this start of the trainer makes first."""

    def __init__(self, run: RunFolder, config: Config, ranks: Ranks, first_step: int) -> None:
        """`config`: those that update `first_step` is made with (`settings.in_force`)."""
        self.config = config
        self._run = run
        self._ranks = ranks
        self._written = changes.read(run)
        self._reached = first_step
        self._live = frozenset(config_changes.live_fields())
        self.at_start = [change for change in self._written if change.step == first_step]
        """The changes that hold from the first update of this start on; they are in `config` already."""
        self._keeps_base = self.foreseen().reward.kl_weight > 0

    def foreseen(self) -> Config:
        """The settings with every weight above 0 that is so now or at a step to come: what has to be loaded for."""
        highest: dict[str, Any] = {}
        for field in _WEIGHTS:
            later = [change.after for change in self._written if change.field == field and change.step > self._reached]
            highest[field] = max(config_changes.value(self.config, field), *later, 0.0)
        return config_changes.put(self.config, highest)

    def at(self, step: int, requests: Sequence[Request] | None) -> list[Change]:
        """What has another value from update `step` on, on every rank; `config` has it then.

        `requests`: of the kind set_field, known to rank 0 alone, whose receipts are written here; None when there are
        none on any rank. Raises OSError (rank 0).
        """
        due = []
        if step > self._reached:
            self._reached = step
            due = [change for change in self._written if change.step == step and change.field in self._live]
            self._put(due)
        if requests is None:
            return due
        accepted = []
        for request in requests:
            try:
                change = self._asked(request, step)
            except _Refused as refused:
                control.acknowledge(self._run, request.id, f"Nothing was changed: {refused}", refused=True)
                continue
            changes.record(self._run, change)
            control.acknowledge(self._run, request.id, change.sentence, step=step - 1)
            self._put([change])
            accepted.append(change)
        told = self._ranks.text_from_first(
            json.dumps([[change.field, change.before, change.after] for change in accepted])
        )
        if not self._ranks.is_first:
            accepted = [Change(step, *values) for values in json.loads(told)]
            self._put(accepted)
        self._written = changes.standing([*self._written, *accepted])
        return [*due, *accepted]

    def _put(self, made: Sequence[Change]) -> None:
        if made:
            self.config = config_changes.put(self.config, {change.field: change.after for change in made})

    def _asked(self, request: Request, step: int) -> Change:
        """The change that a request asks for. Raises _Refused."""
        field, value = str(request.payload.get("field")), request.payload.get("value")
        try:
            new = config_changes.changed(self.config, {field: value}, "live")
        except ConfigError as error:
            raise _Refused(" ".join(problem.message for problem in error.problems)) from error
        done, total = step - 1, new.train.max_steps
        if total < done:
            raise _Refused(f"max_steps is {total}, but {done} updates are already made.")
        if done >= self.config.train.max_steps and field != "train.max_steps":
            raise _Refused(f"the run has made the last of its {done} updates.")
        if schedule.trains_all_weights(new) and new.reward.kl_weight > 0 and not self._keeps_base:
            raise _Refused(
                "kl_weight was 0 when the trainer started, so no copy of the untrained network was kept: stop the run "
                "and resume it with the change."
            )
        before, after = config_changes.value(self.config, field), config_changes.value(new, field)
        # Where a target moves the weight, the same value sets it back to where it began.
        if before == after and not (field == "reward.kl_weight" and new.reward.kl_target is not None):
            raise _Refused(f"{field.rpartition('.')[2]} is {changes.spoken(after)} already.")
        return Change(step, field, before, after, request=request.id)
