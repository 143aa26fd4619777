"""The fixed evaluation videos: the same clips and noise every time, rendered, measured and written into the run
folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rewardfl_app.data import video
from rewardfl_app.data.dataset import ClipDataset, to_pixels
from rewardfl_app.rendering.clips import Batch, ClipEncoder, EncodedClip
from rewardfl_app.rendering.crops import CropSheet
from rewardfl_app.rendering.prefixes import Prefixes
from rewardfl_app.rendering.scoring import Measurement, Scorer
from rewardfl_app.rendering.videos import evaluation_key, render
from rewardfl_app.runs import samples
from rewardfl_app.runs.folder import RunFolder, slug
from rewardfl_app.runs.video_values import VideoValues

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.models.sampling import Grid
    from rewardfl_app.models.wan import WanModel


@dataclass(frozen=True)
class Entry:
    """One evaluation video: its place in the whole set (which fixes its noise), its name and its clip."""

    index: int
    name: str
    clip: EncodedClip


class EvaluationSet:
    """The evaluation videos of this process: entries rank, rank + size, ... of the whole set.

    Of processes that sample the same videos together one `writes`: it alone measures them and leaves files.
    """

    def __init__(
        self,
        model: WanModel,
        scorer: Scorer,
        dataset: ClipDataset,
        config: Config,
        *,
        rank: int = 0,
        size: int = 1,
        writes: bool = True,
        clips: ClipEncoder | None = None,
        prefixes: Prefixes | None = None,
    ) -> None:
        """Encodes this process's share of the first evaluation.num_samples rows; `names` has the names of all.

        `clips` and `prefixes`: those that keep what they compute. Raises DataError naming a row without a face or
        with a bad file.
        """
        self._model = model
        self._scorer = scorer
        self._dataset = dataset
        self._fps = config.data.fps
        self._seed = config.evaluation.seed
        self._batch_size = config.evaluation.batch_size
        self._writes = writes
        count = min(config.evaluation.num_samples, len(dataset))
        self.num_frames = config.data.num_frames
        self.names = [f"{i:02d}-{slug(dataset.rows[i].video.stem)}" for i in range(count)]
        mine = list(range(rank, count, size))
        encoded = (clips or ClipEncoder(model, dataset, scorer)).encode(mine)
        self.entries = [Entry(i, self.names[i], clip) for i, clip in zip(mine, encoded, strict=True)]
        # Each video's own, whatever the batch it is rendered in: a checkpoint rendered later gives the same video.
        self._prefixes = prefixes or Prefixes.of(model, config)

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured on every video."""
        return self._scorer.measures

    def render(
        self, run: RunFolder, step: int, grid: Grid, go_on: Callable[[int], bool] = lambda done: True
    ) -> dict[int, VideoValues] | None:
        """Renders and measures this process's entries into samples/; returns what was measured, by place in the set.

        `go_on(done)` is called before every batch with the number of videos rendered; False abandons the rest (returns
        None).
        """
        values: dict[int, VideoValues] = {}
        done = 0
        for batch in self._batches(self.entries):
            if not go_on(done):
                return None
            done += len(batch)
            clips = Batch.of([entry.clip for entry in batch])
            latents = self._prefixes.latents(clips, [evaluation_key(self._seed, entry.index) for entry in batch])
            frames = render(self._model, grid, clips, latents, start=self._prefixes.stop)
            if not self._writes:
                continue
            for entry, clip_frames, measured in zip(batch, frames, self._measure(frames, batch), strict=True):
                folder = samples.sample_folder(run, step, entry.name)
                self._write(folder, entry, clip_frames, measured, seed=self._seed)
                values[entry.index] = VideoValues(measured.values, measured.curves)
        return values

    def write_references(self, run: RunFolder) -> None:
        """Writes the real clips beside the samples, where they are not there yet."""
        if not self._writes:
            return
        missing = [e for e in self.entries if not (samples.reference_folder(run, e.name) / "faces.json").is_file()]
        for batch in self._batches(missing):
            frames = torch.stack([self._dataset[entry.index].video for entry in batch])
            for entry, clip_frames, measured in zip(batch, frames, self._measure(frames, batch), strict=True):
                self._write(samples.reference_folder(run, entry.name), entry, clip_frames, measured, seed=None)

    def _measure(self, frames: Tensor, batch: Sequence[Entry]) -> list[Measurement]:
        references = [entry.clip.reference for entry in batch]
        return self._scorer.measure(frames, [reference for reference in references if reference is not None])

    def _write(self, folder: Path, entry: Entry, frames: Tensor, measured: Measurement, seed: int | None) -> None:
        video.write(folder / "video.mp4", to_pixels(frames), self._fps)
        height, width = frames.shape[-2:]
        people = len(entry.clip.reference.reward.people) if entry.clip.reference else 0
        source = {"kind": "clip", "source": entry.clip.name, "people": people}
        about: dict[str, Any] = {"prompt": entry.clip.prompt, "seed": seed, "reference": source}
        report = measured.report(fps=self._fps, height=height, width=width, **about)
        sheet = CropSheet(report)
        sheet.cut(frames.transpose(0, 1))
        sheet.save(folder)
        samples.write_faces(folder, report)

    def _batches(self, entries: list[Entry]) -> list[list[Entry]]:
        """Up to batch_size entries of one size together."""
        batches: list[list[Entry]] = []
        for entry in entries:
            last = batches[-1] if batches else None
            if last and len(last) < self._batch_size and last[0].clip.size == entry.clip.size:
                last.append(entry)
            else:
                batches.append([entry])
        return batches
