"""When: loading, the baseline, and then step after step with evaluation, saving and requests in between."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from rewardfl_app.data.errors import DataError
from rewardfl_app.runs import checkpoints
from rewardfl_app.training import checkpointing, stopping
from rewardfl_app.training.checkpointing import Position
from rewardfl_app.training.live import LiveSettings
from rewardfl_app.training.loading import Loader, Parts
from rewardfl_app.training.reporting import Reporter, peak_memory_gb
from rewardfl_app.training.room import Room
from rewardfl_app.training.schedulers import learning_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rewardfl_app.config.schema import Config
    from rewardfl_app.runs.changes import Change
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.ranks import Ranks
    from rewardfl_app.training.samples import Samples

logger = logging.getLogger(__name__)


class Trainer:
    """Trains one run folder to its end, or until a request stops it. A complete checkpoint in the folder is
    continued."""

    def __init__(self, run: RunFolder, config: Config, ranks: Ranks) -> None:
        """`config`: the settings in force for the first update that is to be made (see `settings.in_force`)."""
        self._run = run
        self._config = config
        self._ranks = ranks
        self.reporter = Reporter(run, config.train.max_steps, ranks.is_first)
        self._position = Position()
        self._saved: int | None = None
        self._left_out: set[int] = set()
        self._room = Room(run, config, ranks, self.reporter)

    def train(self) -> str:
        """Runs to the end; returns the final state, "completed" or "stopped"."""
        self.reporter.status("loading", "Starting.")
        spread = self._config.deepspeed
        self._ranks.connect(spread.timeout_minutes, spread.context_parallel)
        checkpoint = checkpoints.latest(self._run)
        first = 1 if checkpoint is None else checkpoint.step + 1
        self._live = LiveSettings(self._run, self._config, self._ranks, first)
        parts = Loader(self._run, self._live, self._ranks, self.reporter, checkpoint).load()
        self._position = parts.position
        self._saved = None if checkpoint is None else self._position.step
        self._tell(self._live.at_start)
        self._rehearse(parts)
        if not (self._has_room_to_evaluate(parts) and parts.evaluation.baseline()):
            return self._end("stopped", self._carry_out(parts))
        while True:
            decision = self._carry_out(parts)
            if decision.stop:
                return self._end("stopped", decision)
            if self._is_last:
                if self._finish(parts):
                    return self._end("completed", decision)
                continue
            if not self._room.wait_for_step():
                continue
            self._one_step(parts)
            if parts.evaluation.is_due(self._position.step) and not self._evaluate(parts):
                continue
            is_due = self._position.step % self._config.train.save_steps == 0 or self._is_last
            if is_due or parts.evaluation.is_best(self._position.step):
                self._save(parts)

    @property
    def _is_last(self) -> bool:
        return self._position.step >= self._config.train.max_steps

    def _one_step(self, parts: Parts) -> None:
        started = time.perf_counter()
        samples = self._take(parts)
        rate = learning_rate(self._config.train, self._position.step + 1)
        values = parts.step.update(samples, self._position.step + 1, rate)
        parts.weights.updated(self._position.step + 1)
        self._position = self._position.after_update(self._config.train.num_train_epochs, parts.step.kl_weight)
        self.reporter.now("")
        seconds = time.perf_counter() - started
        self.reporter.step = self._position.step
        self.reporter.took("step", seconds)
        self.reporter.record(
            {**values, "learning_rate": rate, "step_seconds": seconds, "peak_memory_gb": peak_memory_gb()}
        )
        left = self.reporter.seconds_left(
            self._config.train.max_steps - self._position.step, parts.evaluation.num_due(self._position.step)
        )
        self.reporter.status("training", f"Step {self._position.step} of {self._config.train.max_steps}.", left)

    def _rehearse(self, parts: Parts) -> None:
        """The gradient of the next step, dropped: what does not fit into memory fails now, with the part named."""
        if self._is_last:
            return
        self.reporter.status("loading", "Encoding the clips of the first step.")
        samples = parts.source.take(self._position.batch)
        self.reporter.status("loading", "Trying one step, so that a lack of memory shows now.")
        parts.step.rehearse(samples, self._position.step + 1)
        self.reporter.now("")

    def _take(self, parts: Parts) -> Samples:
        """The samples of the next update; what was trained so far is saved when there are none."""
        self.reporter.now("reading the clips")
        try:
            samples = parts.source.take(self._position.batch)
        except DataError:
            if self._position.step:
                self._save(parts)
            raise
        for slot in samples.failed:
            row = samples.rows[slot]
            if row not in self._left_out:
                self._left_out.add(row)
                message = f"Row {row} could not be used and is left out; train.log says why."
                self.reporter.event("left_out", message, row=row, step=self._position.step + 1)
        return samples

    def _carry_out(self, parts: Parts) -> stopping.Decision:
        """Does what was asked for since the last step, all ranks together, and writes the receipts."""
        decision = stopping.decide(self._run, self._ranks)
        step = self._position.step
        saved = sampled = False
        if decision.stop:
            self.reporter.status("stopping", "Stopping as asked.")
        self._change(parts, self._live.at(step + 1, decision.changes))
        if decision.sample and step:
            sampled = self._evaluate(parts)
            if parts.evaluation.is_best(step):
                self._save(parts)
        if decision.save and step:
            saved = self._save(parts)
        if self._ranks.is_first:
            stopping.acknowledge(self._run, decision, step, saved, sampled)
        return decision

    def _change(self, parts: Parts, changed: Sequence[Change]) -> None:
        """Goes on with the settings that hold from here on."""
        if not changed:
            return
        self._config = self._live.config
        self.reporter.total = self._config.train.max_steps
        parts.change(self._config, {change.field for change in changed})
        self._tell(changed)

    def _tell(self, changed: Sequence[Change]) -> None:
        for change in changed:
            values = {"field": change.field, "before": change.before, "after": change.after, "step": change.step}
            self.reporter.event("live", change.sentence, **values)

    def _finish(self, parts: Parts) -> bool:
        """Evaluates and saves what the last update made, where that is not done; False if stop_now cut it short."""
        if self._position.step:
            return self._evaluate(parts) and self._save(parts)
        return True

    def _evaluate(self, parts: Parts) -> bool:
        """Renders the evaluation videos, once there is room for them; False if stop_now cut it short."""
        return self._has_room_to_evaluate(parts) and parts.evaluation.run(self._position.step)

    def _has_room_to_evaluate(self, parts: Parts) -> bool:
        return self._room.wait_for(parts.evaluation.num_bytes, "Rendering the evaluation videos")

    def _save(self, parts: Parts) -> bool:
        """Saves a checkpoint of this step, once there is room for it; False if stop_now was asked for instead."""
        step = self._position.step
        if self._saved == step:
            return True
        if not self._room.wait_for(checkpointing.num_bytes(self._run, parts.weights), "The checkpoint"):
            return False
        self.reporter.status("saving", f"Saving the checkpoint of step {step}.")
        path = checkpointing.save(self._run, self._position, parts.weights, self._ranks, self._config)
        self._saved = step
        self.reporter.event("checkpoint", f"Saved {path.name}.", step=step)
        self._remove_old(parts)
        return True

    def _remove_old(self, parts: Parts) -> None:
        """Removes the checkpoints that train.save_total_limit has no place for."""
        limit = self._config.train.save_total_limit
        if limit is None or not self._ranks.is_first:
            return
        gone = checkpoints.remove_old(self._run, limit, parts.evaluation.best_steps)
        if gone:
            steps = ", ".join(str(step) for step in gone)
            message = f"Removed the checkpoint{'s' if len(gone) > 1 else ''} of step {steps} (train.save_total_limit)."
            self.reporter.event("removed", message, steps=gone)

    def _end(self, state: str, decision: stopping.Decision) -> str:
        step, total = self._position.step, self._config.train.max_steps
        if state == "completed":
            self.reporter.event("completed", f"Completed all {total} steps.")
            self.reporter.status("completed", f"Completed all {total} steps.", 0.0)
        else:
            kept = "with" if self._saved == step and step else "without"
            message = f"Stopped after step {step} of {total}, {kept} a checkpoint of that step."
            self.reporter.event("stopped", message)
            self.reporter.status("stopped", message)
        return state
