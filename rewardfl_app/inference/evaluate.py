"""The evaluation videos of a checkpoint, rendered after the fact into the run's samples folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewardfl_app.data import manifest
from rewardfl_app.data.dataset import ClipDataset
from rewardfl_app.data.errors import DataError
from rewardfl_app.rendering.clips import ClipEncoder
from rewardfl_app.rendering.evaluation_set import EvaluationSet
from rewardfl_app.rendering.prefixes import Prefixes
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.rendering.store import Store
from rewardfl_app.runs import video_values

if TYPE_CHECKING:
    from rewardfl_app.inference.session import Session
    from rewardfl_app.runs.folder import RunFolder


def evaluate(session: Session, run: RunFolder) -> int:
    """Renders and measures the run's evaluation set with the session's model; returns the number of videos.

    Raises DataError, PackError.
    """
    config = session.config
    path = config.evaluation.metadata_path or config.data.metadata_path
    if path is None:
        raise DataError("data.metadata_path is empty: the run names no clips to evaluate on.")
    rows = manifest.read(path)[: config.evaluation.num_samples]
    scorer = Scorer.load(config.reward, session.model.device)
    model, dataset, store = session.model, ClipDataset.of(rows, config), Store.beside(run, config)
    clips = ClipEncoder.of(model, dataset, scorer, config, store, with_clean=False)
    videos = EvaluationSet(model, scorer, dataset, config, clips=clips, prefixes=Prefixes.of(model, config, store))
    values = videos.render(run, session.step, session.grid) or {}
    video_values.write(run, session.step, {videos.names[place]: one for place, one in values.items()})
    videos.write_references(run)
    return len(values)
