"""What training needs, loaded in the order that keeps one large network at a time in memory."""

from __future__ import annotations

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
from rewardfl_app.training import checkpointing, weights
from rewardfl_app.training.checkpointing import Position
from rewardfl_app.training.evaluation import Evaluation
from rewardfl_app.training.failure import PeerFailed
from rewardfl_app.training.samples import SampleSource
from rewardfl_app.training.step import TrainingStep
from rewardfl_app.training.weights import Weights

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.runs.checkpoints import Checkpoint
    from rewardfl_app.runs.folder import RunFolder
    from rewardfl_app.training.live import LiveSettings
    from rewardfl_app.training.ranks import Ranks
    from rewardfl_app.training.reporting import Reporter

# The first frame of every row is looked at before training starts; in a larger data set, of this many rows.
ROWS_CHECKED_AT_START = 512


@dataclass(frozen=True)
class Parts:
    """What loading leaves behind. `position`: where training goes on."""

    model: WanModel
    weights: Weights
    step: TrainingStep
    clips: ClipEncoder
    source: SampleSource
    evaluation: Evaluation
    position: Position

    def change(self, config: Config, fields: set[str]) -> None:
        """Go on with other live settings from the next update on; `fields`: those that changed."""
        self.step.change(config, fields)
        self.evaluation.change(config)
        self.weights.engine.change(config)
        if config.reward.anchor_weight > 0:
            self.clips.carry_clean()


class Loader:
    """Loads the parts of one run; all ranks do so together."""

    def __init__(
        self, run: RunFolder, live: LiveSettings, ranks: Ranks, reporter: Reporter, checkpoint: Checkpoint | None
    ) -> None:
        self._run = run
        self._live = live
        self._config = live.config
        self._ranks = ranks
        self._reporter = reporter
        self._checkpoint = checkpoint

    def load(self) -> Parts:
        """Everything, with the checkpoint's state in it. Raises DataError, ConfigError, WeightsError and more."""
        config, run, checkpoint = self._config, self._run, self._checkpoint
        device = _device(self._ranks)
        self._reporter.event("started", "The trainer started.", num_processes=self._ranks.size, device=str(device))
        data, evaluation_data = _datasets(config)
        self._reporter.status("loading", "Loading the face models.")
        scorer = Scorer.load(config.reward, device)
        model = wan.load(config.model, device, self._ranks.tokens)
        store = Store.beside(run, config)
        prefixes = Prefixes.of(model, config, store, agreed=self._ranks.all_share)
        foreseen = self._live.foreseen()
        clips = ClipEncoder.of(model, data, scorer, config, store, with_clean=foreseen.reward.anchor_weight > 0)
        evaluation_clips = ClipEncoder.of(model, evaluation_data, scorer, config, store, with_clean=False)
        self._reporter.status("loading", "Looking for a face in every first frame.")
        self._check_faces(data, clips, scorer)
        order = Order(len(data), config.train.seed)
        source = SampleSource(clips, [row.index for row in data.rows], order, config, self._ranks)
        if store.is_on and (config.sampling.prefix_seeds or memory_is_scarce(device)):
            # Before a network that trains is read, so that one large network at a time is in memory.
            training = source.needed(_batches_left(config, checkpoint.step if checkpoint else 0))
            evaluating = self._evaluation_samples(len(evaluation_data))
            self._prepare(model, [Wanted(clips, training), Wanted(evaluation_clips, evaluating)], prefixes, store)
        self._reporter.status("loading", "Loading the video model.")
        adaptations = weights.adapt(model, foreseen)
        if checkpoint is not None:
            checkpointing.load_weights(checkpoint, adaptations)
        trained, position = Weights(adaptations, config), Position()
        if checkpoint is not None:
            position = checkpointing.load_state(checkpoint, trained, self._ranks, config)
            self._reporter.step = position.step
            self._reporter.event("resumed", f"Continuing after step {position.step}.", step=position.step)
        self._reporter.cut_after(position.step)
        self._reporter.status("loading", "Encoding the evaluation clips.")
        videos = EvaluationSet(
            model,
            scorer,
            evaluation_data,
            config,
            rank=self._ranks.data_rank,
            size=self._ranks.data_size,
            writes=self._ranks.leads,
            clips=evaluation_clips,
            prefixes=prefixes,
        )
        size = self._ranks.data_size
        kept = KeptBaseline.of(model, evaluation_data, config, store, videos.names, videos.measures, size)
        step = TrainingStep(model, scorer, prefixes, trained.engine, self._ranks, config, self._reporter.now)
        set_anew = any(change.field == "reward.kl_weight" for change in self._live.at_start)
        if config.reward.kl_target is not None and position.kl_weight is not None and not set_anew:
            step.kl_weight = position.kl_weight
        return Parts(
            model=model,
            weights=trained,
            step=step,
            clips=clips,
            source=source,
            evaluation=Evaluation(trained.rendering, videos, run, self._ranks, self._reporter, config, kept),
            position=position,
        )

    def _evaluation_samples(self, num_rows: int) -> list[tuple[int, tuple[int, ...]]]:
        """Position and noise key of this process's evaluation videos."""
        settings = self._config.evaluation
        mine = range(self._ranks.data_rank, min(settings.num_samples, num_rows), self._ranks.data_size)
        return [(index, evaluation_key(settings.seed, index)) for index in mine]

    def _prepare(self, model: WanModel, wanted: list[Wanted], prefixes: Prefixes, store: Store) -> None:
        """Computes and keeps what does not depend on what trains, and lets go what it took.

        Raises ConfigError where the store has too little room for leading steps that are to be kept; without them the
        encoders stay in memory instead.
        """

        def progress(what: str, done: int, total: int) -> None:
            self._reporter.status("loading", f"{what}: {done + 1} of {total}.")

        keeps_prefixes = self._config.sampling.prefix_seeds > 0
        error: ConfigError | None = None
        try:
            limit = store.limit_bytes // self._ranks.data_size
            prepare(model, wanted, prefixes if keeps_prefixes else None, progress, limit_bytes=limit)
        except ConfigError as met:
            error = met
        if keeps_prefixes:
            self._raise_together(error)
        elif self._ranks.all_true(error is None):
            for each in wanted:
                each.clips.let_networks_go()

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

    def _raise_together(self, error: DataError | ConfigError | None) -> None:
        """Raises on every rank if one has an error."""
        if self._ranks.all_true(error is None):
            return
        raise error if error is not None else PeerFailed("another process has met bad data")


def _batches_left(config: Config, updates: int) -> range:
    """The batches of samples that the updates after the first `updates` take."""
    rounds = config.train.num_train_epochs
    return range(updates // rounds, -(-config.train.max_steps // rounds))


def memory_is_scarce(device: torch.device) -> bool:
    """Whether networks that are seldom used had better go from the device: from an accelerator."""
    return device.type != "cpu"


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
