"""The base model's evaluation, kept for every run that would render the same: its videos, what was measured on them,
and the real clips beside them.

The key holds all that the files depend on, to the last bit: weights, clips, noise, steps, reward, judge, and how the
videos were shared out and rendered together.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import rewardfl_app
from rewardfl_app.config import schedule
from rewardfl_app.config.schema import FACE_SIMILARITY
from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering.clip_records import ClipRecords
from rewardfl_app.runs import content, samples
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.samples import BASELINE_STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rewardfl_app.config.schema import Config
    from rewardfl_app.data.dataset import ClipDataset
    from rewardfl_app.models.wan import WanModel
    from rewardfl_app.rendering.store import Store
    from rewardfl_app.runs.folder import RunFolder

logger = logging.getLogger(__name__)

KIND = "baseline"
_FORMAT = 1  # raised when the same inputs give other files
_SEAL = "files.json"
_REWARD = {"rewards", "hinge", "missing_face_penalty", "include_first_frame"}  # beside what a reference depends on


class KeptBaseline:
    """The store's entry for the baseline of one configuration. Rank 0 alone uses it."""

    def __init__(self, store: Store, key: str | None) -> None:
        """`key` None: nothing is found and nothing is kept."""
        self._store = store
        self._key = key

    @classmethod
    def of(
        cls,
        model: WanModel,
        dataset: ClipDataset,
        config: Config,
        store: Store,
        names: Sequence[str],
        measures: Sequence[str],
        num_shares: int,
    ) -> KeptBaseline:
        """`names` and `measures`: of the evaluation set, which is dealt out in `num_shares`. Raises DataError naming a
        row whose files cannot be read."""
        if not store.is_on or dict(config.reward.rewards).keys() - {FACE_SIMILARITY}:
            return cls(store, None)  # what a reward of one's own computes is not told by any file
        records, grid = ClipRecords(model, dataset, config, store), Grid.of(config)
        clips = [records.keys(place) for place in range(len(names))]
        # All weights that train are held in another number format from the start.
        whole = schedule.trained_experts(config) if schedule.trains_all_weights(config) else ()
        key = content.digest(
            {
                "format": _FORMAT,
                "package": rewardfl_app.__version__,
                "networks": model.digest(*dict.fromkeys(grid.experts), "vae"),
                "sigmas": grid.sigmas,
                "experts": grid.experts,
                "clips": [[clip.content, clip.reference] for clip in clips],
                "prompts": [dataset.rows[place].prompt for place in range(len(names))],
                "names": list(names),
                "measures": list(measures),
                "reward": config.reward.model_dump(mode="json", include=_REWARD),
                "seed": config.evaluation.seed,
                "fps": config.data.fps,
                "together": [config.evaluation.batch_size, num_shares, schedule.prefix_length(config), list(whole)],
                "context_parallel": config.deepspeed.context_parallel,
            }
        )
        return cls(store, key)

    def take(self, run: RunFolder) -> bool:
        """Copies the base model's samples and the real clips into a run; False where they are not kept, or damaged."""
        kept = None if self._key is None else self._store.folder(KIND, self._key)
        if kept is None:
            return False
        try:
            with tempfile.TemporaryDirectory(prefix=".baseline-", dir=run.path) as folder:
                copied = Path(folder) / "samples"
                shutil.copytree(kept, copied)
                if _digests(copied) != (read_json(copied / _SEAL) or {}).get("files"):
                    logger.warning("%s is damaged: the base model is rendered again", kept)
                    return False
                for part in _parts(run):
                    shutil.rmtree(part, ignore_errors=True)  # left by a start that did not get to the end
                    os.replace(copied / part.name, part)
        except (OSError, shutil.Error) as error:
            logger.warning("the kept baseline %s cannot be used (%s)", kept, error)
            return False
        return True

    def keep(self, run: RunFolder) -> None:
        """Keeps the base model's samples and the real clips of a run that has rendered them."""
        if self._key is None:
            return
        try:
            with tempfile.TemporaryDirectory(prefix=".baseline-", dir=run.path) as folder:
                sealed = Path(folder) / "samples"
                for part in _parts(run):
                    shutil.copytree(part, sealed / part.name, copy_function=_link)
                write_json_atomic(sealed / _SEAL, {"files": _digests(sealed)})
                self._store.put_folder(KIND, self._key, sealed)
        except (OSError, shutil.Error) as error:
            logger.warning("the baseline of %s is not kept (%s)", run.path, error)


def _parts(run: RunFolder) -> tuple[Path, Path]:
    return samples.step_folder(run, BASELINE_STEP), run.samples / "reference"


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SEAL)
    return {path.relative_to(folder).as_posix(): content.file_digest(path) for path in files}


def _link(source: str, target: str) -> None:
    """The same file under another name, where the disk can do that: it is only read before it is copied."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
