"""The fixed evaluation during training: the base model first, then the trained one every few steps, beside each
other."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rewardfl_app.config import schedule
from rewardfl_app.models import lora
from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering import evaluation_set
from rewardfl_app.rendering.evaluation_set import EvaluationSet, Values
from rewardfl_app.runs import metrics
from rewardfl_app.training import stopping

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.engine import Ranks
    from rewardfl_app.training.reporting import Reporter

_PREFIX = "eval/"
_BASELINE = "_baseline"


class Evaluation:
    """Renders and records the evaluation set; uses no global random state, so training does not notice."""

    def __init__(
        self, model: WanModel, videos: EvaluationSet, run: RunFolder, ranks: Ranks, reporter: Reporter, config: Config
    ) -> None:
        self._model = model
        self._videos = videos
        self._run = run
        self._ranks = ranks
        self._reporter = reporter
        self._grid = Grid.of(config)
        self._trained = schedule.trained_experts(config)
        self._every = config.evaluation.eval_steps
        self._last_step = config.train.max_steps
        self._baseline: Values | None = None
        self._done: int | None = None

    def is_due(self, step: int) -> bool:
        """Whether the videos are rendered after update `step`: every eval_steps, and at the end."""
        return step % self._every == 0 or step == self._last_step

    def num_due(self, step: int) -> int:
        """How many evaluations are still to come after update `step`."""
        return sum(self.is_due(later) for later in range(step + 1, self._last_step + 1))

    def baseline(self) -> bool:
        """Renders the base model, unless an earlier start of this run did; False if stop_now cut it short."""
        if self._ranks.from_first([int(self._ranks.is_first and self._read_baseline())])[0]:
            return True
        self._reporter.status("evaluating", "Rendering the base model for comparison.")
        values = self._render(0, base=True)
        if values is None:
            return False
        self._videos.write_references(self._run)
        self._ranks.wait()
        self._baseline = values
        self._record(values)
        self._reporter.event("baseline", "Rendered the base model's evaluation videos.", num_samples=self._count())
        return True

    def run(self, step: int) -> bool:
        """Renders and records the model after update `step`; False if stop_now cut it short."""
        if self._done == step:
            return True
        self._reporter.status("evaluating", f"Rendering the evaluation videos after step {step}.")
        started = time.perf_counter()
        values = self._render(step, base=False)
        if values is None:
            return False
        self._reporter.took("evaluation", time.perf_counter() - started)
        self._record(values)
        self._reporter.event("evaluation", f"Rendered the evaluation videos after step {step}.", step=step)
        self._done = step
        return True

    def _render(self, step: int, base: bool) -> Values | None:
        def go_on(done: int) -> bool:
            self._reporter.status(self._reporter.phase, f"Evaluation video {done + 1} of {self._count()}.")
            # With several ranks the number of batches may differ, so they cannot agree inside.
            return self._ranks.size > 1 or not stopping.wants_to_stop_now(self._run, self._ranks)

        trained = [self._model.experts[name] for name in self._trained]
        with lora.disabled(trained) if base else nullcontext():
            values = self._videos.render(self._run, step, self._grid, go_on)
        if values is None:
            return None
        names = self._videos.measures
        return evaluation_set.means(self._ranks.sum(evaluation_set.totals(values, names)), names)

    def _count(self) -> int:
        return len(self._videos.entries)

    def _record(self, values: Values) -> None:
        record = {_PREFIX + name: value for name, value in values.items()}
        record.update({_PREFIX + name + _BASELINE: value for name, value in (self._baseline or {}).items()})
        self._reporter.record(record)

    def _read_baseline(self) -> bool:
        for record in metrics.read_all(self._run.metrics):
            if record.get("step") == 0 and metrics.is_evaluation(record):
                names = [key for key in record if key.startswith(_PREFIX) and not key.endswith(_BASELINE)]
                self._baseline = {name.removeprefix(_PREFIX): record[name] for name in names}
                return True
        return False
