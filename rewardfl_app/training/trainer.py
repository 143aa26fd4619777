"""When: loading, the baseline, and then step after step with evaluation, saving and requests in between."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rewardfl_app.config.problems import ConfigError
from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset, Order
from rewardfl_app.data.errors import DataError
from rewardfl_app.models import wan
from rewardfl_app.rendering.clips import ClipEncoder
from rewardfl_app.rendering.evaluation_set import EvaluationSet
from rewardfl_app.rendering.kept_baseline import KeptBaseline
from rewardfl_app.rendering.prefixes import Prefixes
from rewardfl_app.rendering.preparation import Wanted, prepare
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.rendering.store import Store
from rewardfl_app.rendering.videos import evaluation_key
from rewardfl_app.runs import checkpoints
from rewardfl_app.training import checkpointing, stopping, weights
from rewardfl_app.training.checkpointing import Position
from rewardfl_app.training.engine import Ranks
from rewardfl_app.training.evaluation import Evaluation
from rewardfl_app.training.failure import PeerFailed
from rewardfl_app.training.reporting import Reporter, peak_memory_gb
from rewardfl_app.training.samples import Samples, SampleSource
from rewardfl_app.training.schedulers import learning_rate
from rewardfl_app.training.step import TrainingStep
from rewardfl_app.training.weights import Weights

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.runs.folder import RunFolder

logger = logging.getLogger(__name__)

# The first frame of every row is looked at before training starts; in a larger data set, of this many rows.
ROWS_CHECKED_AT_START = 512


@dataclass(frozen=True)
class _Parts:
    """What loading leaves behind."""

    model: WanModel
    weights: Weights
    step: TrainingStep
    source: SampleSource
    evaluation: Evaluation


class Trainer:
    """Trains one run folder to its end, or until a request stops it. A complete checkpoint in the folder is
    continued."""

    def __init__(self, run: RunFolder, config: Config, ranks: Ranks) -> None:
        self._run = run
        self._config = config
        self._ranks = ranks
        self.reporter = Reporter(run, config.train.max_steps, ranks.is_first)
        self._position = Position()
        self._saved: int | None = None
        self._left_out: set[int] = set()

    def train(self) -> str:
        """Runs to the end; returns the final state, "completed" or "stopped"."""
        self.reporter.status("loading", "Starting.")
        parts = self._load()
        self._rehearse(parts)
        if not parts.evaluation.baseline():
            return self._end("stopped", self._carry_out(parts))
        while True:
            decision = self._carry_out(parts)
            if decision.stop:
                return self._end("stopped", decision)
            if self._position.step >= self._config.train.max_steps:
                return self._end("completed", decision)
            self._one_step(parts)
            if parts.evaluation.is_due(self._position.step) and not parts.evaluation.run(self._position.step):
                continue
            is_due = self._position.step % self._config.train.save_steps == 0 or self._is_last
            if is_due or parts.evaluation.is_best(self._position.step):
                self._save(parts)

    @property
    def _is_last(self) -> bool:
        return self._position.step >= self._config.train.max_steps

    def _one_step(self, parts: _Parts) -> None:
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

    def _rehearse(self, parts: _Parts) -> None:
        """The gradient of the next step, dropped: what does not fit into memory fails now, with the part named."""
        if self._position.step >= self._config.train.max_steps:
            return
        self.reporter.status("loading", "Trying one step, so that a lack of memory shows now.")
        parts.step.rehearse(parts.source.take(self._position.batch), self._position.step + 1)
        self.reporter.now("")

    def _take(self, parts: _Parts) -> Samples:
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

    def _raise_together(self, error: DataError | ConfigError | None) -> None:
        """Raises on every rank if one has an error."""
        if self._ranks.all_true(error is None):
            return
        raise error if error is not None else PeerFailed("another process has met bad data")

    def _carry_out(self, parts: _Parts) -> stopping.Decision:
        """Does what was asked for since the last step, all ranks together, and writes the receipts."""
        decision = stopping.decide(self._run, self._ranks)
        step = self._position.step
        saved = sampled = False
        if decision.stop:
            self.reporter.status("stopping", "Stopping as asked.")
        if decision.sample and step:
            sampled = parts.evaluation.run(step)
            if parts.evaluation.is_best(step):
                self._save(parts)
        if decision.save and step:
            self._save(parts)
            saved = True
        if self._ranks.is_first:
            stopping.acknowledge(self._run, decision, step, saved, sampled)
        return decision

    def _save(self, parts: _Parts) -> None:
        if self._saved == self._position.step:
            return
        self.reporter.status("saving", f"Saving the checkpoint of step {self._position.step}.")
        path = checkpointing.save(self._run, self._position, parts.weights, self._ranks, self._config)
        self._saved = self._position.step
        self.reporter.event("checkpoint", f"Saved {path.name}.", step=self._position.step)

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

    def _load(self) -> _Parts:
        config, run = self._config, self._run
        self._ranks.connect()
        device = _device(self._ranks)
        self.reporter.event("started", "The trainer started.", num_processes=self._ranks.size, device=str(device))
        data, evaluation_data = _datasets(config)
        self.reporter.status("loading", "Loading the face models.")
        scorer = Scorer.load(config.reward, device)
        model = wan.load(config.model, device)
        checkpoint = checkpoints.latest(run)
        store = Store.beside(run, config)
        prefixes = Prefixes.of(model, config, store)
        with_clean = config.reward.anchor_weight > 0
        clips = ClipEncoder.of(model, data, scorer, config, store, with_clean=with_clean)
        evaluation_clips = ClipEncoder.of(model, evaluation_data, scorer, config, store, with_clean=False)
        self.reporter.status("loading", "Looking for a face in every first frame.")
        self._check_faces(data, clips, scorer)
        order = Order(len(data), config.train.seed)
        source = SampleSource(clips, [row.index for row in data.rows], order, config, self._ranks)
        if config.sampling.prefix_seeds and store.is_on:
            # Before a network that trains is read, so that one large network at a time is in memory.
            training = source.needed(_batches_left(config, checkpoint.step if checkpoint else 0))
            evaluating = self._evaluation_samples(len(evaluation_data))
            wanted = [Wanted(clips, training), Wanted(evaluation_clips, evaluating)]
            self._prepare(model, wanted, prefixes, store)
        self.reporter.status("loading", "Loading the video model.")
        adaptations = weights.adapt(model, config)
        if checkpoint is not None:
            checkpointing.load_weights(checkpoint, adaptations)
        trained = Weights(adaptations, config)
        if checkpoint is not None:
            self._position = checkpointing.load_state(checkpoint, trained, self._ranks, config)
            self._saved = self.reporter.step = self._position.step
            self.reporter.event("resumed", f"Continuing after step {self._position.step}.", step=self._position.step)
        self.reporter.cut_after(self._position.step)
        self.reporter.status("loading", "Encoding the evaluation clips.")
        videos = EvaluationSet(
            model,
            scorer,
            evaluation_data,
            config,
            rank=self._ranks.rank,
            size=self._ranks.size,
            clips=evaluation_clips,
            prefixes=prefixes,
        )
        size = self._ranks.size
        kept = KeptBaseline.of(model, evaluation_data, config, store, videos.names, videos.measures, size)
        step = TrainingStep(model, scorer, prefixes, trained.engine, self._ranks, config, self.reporter.now)
        if config.reward.kl_target is not None and self._position.kl_weight is not None:
            step.kl_weight = self._position.kl_weight
        return _Parts(
            model=model,
            weights=trained,
            step=step,
            source=source,
            evaluation=Evaluation(trained.rendering, videos, run, self._ranks, self.reporter, config, kept),
        )

    def _evaluation_samples(self, num_rows: int) -> list[tuple[int, tuple[int, ...]]]:
        """Position and noise key of this process's evaluation videos."""
        settings = self._config.evaluation
        mine = range(self._ranks.rank, min(settings.num_samples, num_rows), self._ranks.size)
        return [(index, evaluation_key(settings.seed, index)) for index in mine]

    def _prepare(self, model: WanModel, wanted: list[Wanted], prefixes: Prefixes, store: Store) -> None:
        def progress(what: str, done: int, total: int) -> None:
            self.reporter.status("loading", f"{what}: {done + 1} of {total}.")

        error: ConfigError | None = None
        try:
            prepare(model, wanted, prefixes, progress, limit_bytes=store.limit_bytes // self._ranks.size)
        except ConfigError as met:
            error = met
        self._raise_together(error)

    def _check_faces(self, data: ClipDataset, clips: ClipEncoder, scorer: Scorer) -> None:
        """Raises DataError naming every row (of those looked at) whose first frame shows no face; ranks share the work.

        A row whose reference is kept has shown one before.
        """
        mine = range(min(len(data), ROWS_CHECKED_AT_START))[self._ranks.rank :: self._ranks.size]
        error: DataError | None = None
        try:
            unknown = [i for i in mine if not clips.has_reference(i)]
            faceless = [data.rows[i].index for i in unknown if not scorer.has_face(data.first_frame(i)[None])[0]]
            if faceless:
                listed = ", ".join(str(row) for row in faceless[:5]) + (" ..." if len(faceless) > 5 else "")
                rows = f"Row {listed}" if len(faceless) == 1 else f"Rows {listed}"
                raise DataError(f"{self._config.data.metadata_path}: {rows}: no face was found in the first frame.")
        except DataError as met:
            error = met
        self._raise_together(error)


def _batches_left(config: Config, updates: int) -> range:
    """The batches of samples that the updates after the first `updates` take."""
    rounds = config.train.num_train_epochs
    return range(updates // rounds, -(-config.train.max_steps // rounds))


def _device(ranks: Ranks) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.set_device(ranks.local_rank)
    return torch.device("cuda", ranks.local_rank)


def _datasets(config: Config) -> tuple[ClipDataset, ClipDataset]:
    """Training and evaluation clips. Raises DataError naming what is wrong, by row."""
    if config.data.metadata_path is None:
        raise DataError("data.metadata_path is empty: name your metadata.csv.")
    evaluation_path = config.evaluation.metadata_path or config.data.metadata_path
    sets = []
    for path, count in ((config.data.metadata_path, None), (evaluation_path, config.evaluation.num_samples)):
        rows = manifest.read(path)[:count]
        manifest.check_rows(rows[:ROWS_CHECKED_AT_START], config.data.num_frames, path)
        sets.append(ClipDataset.of(rows, config))
    return sets[0], sets[1]
