"""The fixed evaluation during training: the base model first, then the trained one every few steps, beside each
other."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering.evaluation_set import EvaluationSet
from rewardfl_app.runs import metrics, video_values
from rewardfl_app.runs.samples import BASELINE_STEP, step_folder
from rewardfl_app.runs.video_values import VideoValues
from rewardfl_app.training import stopping
from rewardfl_app.training.standing import Standing

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.rendering.kept_baseline import KeptBaseline
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.ranks import Ranks
    from rewardfl_app.training.reporting import Reporter

_FIRST_BYTES = 2**20  # of one video with its faces, as long as none is written


class Evaluation:
    """Renders and records the evaluation set; uses no global random state, so training does not notice."""

    def __init__(
        self,
        weights: Callable[[bool], AbstractContextManager[None]],
        videos: EvaluationSet,
        run: RunFolder,
        ranks: Ranks,
        reporter: Reporter,
        config: Config,
        kept: KeptBaseline | None = None,
    ) -> None:
        """`weights(base)`: inside, the model that `videos` renders is the base model, or the one that is trained.

        `kept`: where the base model's evaluation is taken from, and kept for other runs.
        """
        self._weights = weights
        self._videos = videos
        self._run = run
        self._ranks = ranks
        self._reporter = reporter
        self._grid = Grid.of(config)
        self.change(config)
        self._kept = kept
        self._standing = Standing(run, reporter)
        self._baseline: dict[str, VideoValues] | None = None
        self._done: int | None = None
        self._best_step: int | None = None

    def change(self, config: Config) -> None:
        """Is due from now on as these settings say."""
        self._every = config.evaluation.eval_steps
        self._last_step = config.train.max_steps

    def is_due(self, step: int) -> bool:
        """Whether the videos are rendered after update `step`: every eval_steps, and at the end."""
        return step % self._every == 0 or step == self._last_step

    def num_due(self, step: int) -> int:
        """How many evaluations are still to come after update `step`."""
        if step >= self._last_step:
            return 0
        return self._last_step // self._every - step // self._every + (self._last_step % self._every > 0)

    def is_best(self, step: int) -> bool:
        """Whether the model after update `step` was evaluated and is the best so far (see `runs.best`), on every
        rank: its checkpoint should be kept."""
        return self._best_step == step

    @property
    def best_steps(self) -> tuple[int, ...]:
        """The step whose model is the best so far, if there is one."""
        return () if self._best_step is None or self._best_step < 0 else (self._best_step,)

    @property
    def num_bytes(self) -> int:
        """About how much room the next videos take: as much as those before the first step."""
        written = (path for path in step_folder(self._run, BASELINE_STEP).rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in written) or _FIRST_BYTES * len(self._videos.names)

    def baseline(self) -> bool:
        """Renders the base model, unless an earlier start of this run did; False if stop_now cut it short."""
        last = self._ranks.from_first([self._take_up() if self._ranks.is_first else 0])[0]
        if last >= BASELINE_STEP:
            self._done = last
            return True
        if self._ranks.from_first([int(self._ranks.is_first and self._take_kept())])[0]:
            message = "Took the base model's evaluation videos from an earlier run, which rendered the same."
            self._reporter.event("baseline", message, num_samples=len(self._videos.names))
            return True
        self._reporter.status("evaluating", "Rendering the base model for comparison.")
        values = self._render(BASELINE_STEP, base=True)
        if values is None:
            return False
        self._videos.write_references(self._run)
        self._ranks.wait()
        self._baseline = values
        self._record(BASELINE_STEP, values)
        if self._kept is not None and self._ranks.is_first:
            self._kept.keep(self._run)
        message = "Rendered the base model's evaluation videos."
        self._reporter.event("baseline", message, num_samples=len(self._videos.names))
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
        self._record(step, values)
        self._reporter.event("evaluation", f"Rendered the evaluation videos after step {step}.", step=step)
        self._done = step
        return True

    def _render(self, step: int, base: bool) -> dict[str, VideoValues] | None:
        """What was measured on every video of the whole set, by name; None if stop_now cut it short."""

        def go_on(done: int) -> bool:
            self._reporter.status(self._reporter.phase, f"Evaluation video {done + 1} of {self._count()}.")
            # Where the videos are dealt out, the number of batches may differ, so the ranks cannot agree inside.
            return self._ranks.data_size > 1 or not stopping.wants_to_stop_now(self._run, self._ranks)

        with self._weights(base):
            own = self._videos.render(self._run, step, self._grid, go_on)
        if own is None:
            return None
        shape = (len(self._videos.names), self._videos.measures, self._videos.num_frames)
        whole = video_values.from_numbers(self._ranks.sum(video_values.to_numbers(own, *shape)), *shape)
        return dict(zip(self._videos.names, whole, strict=True))

    def _count(self) -> int:
        return len(self._videos.entries)

    def _record(self, step: int, values: dict[str, VideoValues]) -> None:
        if self._ranks.is_first:
            video_values.write(self._run, step, values)
            record = video_values.evaluation_record(values, self._baseline if step else None)
            self._standing.add(step, record)
        best = self._standing.best_step
        self._best_step = self._ranks.from_first([-1 if best is None else best])[0]

    def _take_kept(self) -> bool:
        """Takes what another run has measured on the base model; False where there is none."""
        if self._kept is None or not self._kept.take(self._run):
            return False
        self._baseline = video_values.read(self._run, BASELINE_STEP)
        if self._baseline is None:
            return False
        self._standing.add(BASELINE_STEP, video_values.evaluation_record(self._baseline))
        return True

    def _take_up(self) -> int:
        """Goes on from what an earlier start of this run measured; the last step it evaluated, -1 when it did not get
        as far as the base model."""
        steps = [r["step"] for r in metrics.current(metrics.read_all(self._run.metrics)) if metrics.is_evaluation(r)]
        if BASELINE_STEP not in steps:
            return -1
        self._baseline = video_values.read(self._run, BASELINE_STEP)
        self._standing.take_up()
        return max(steps)
