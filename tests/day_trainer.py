"""A trainer process without networks: `python day_trainer.py SECONDS RUN_DIR` spreads a run's updates over SECONDS.

What writes and what is asked at a step boundary is the real trainer: its loop, reporting, evaluation, standing,
requests, live settings, checkpoints. Only what would be computed is made up.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ui.page_run import NUM_FRAMES, PROMPTS, write_sample

from rewardfl_app.runs import samples
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json
from rewardfl_app.runs.process_end import end_process
from rewardfl_app.runs.video_values import MEASURES, VideoValues
from rewardfl_app.training import evaluation, loading, trainer
from rewardfl_app.training.checkpointing import Position
from rewardfl_app.training.ranks import Ranks

FILES = ("video.mp4", "crops.jpg")


class PaintedVideos:
    """In place of the evaluation set: every video is painted once, and copied for every step."""

    def __init__(self, num_videos: int) -> None:
        self.names = [f"{number:02d}-clip" for number in range(num_videos)]
        self.entries = self.names
        self.measures = MEASURES
        self.num_frames = NUM_FRAMES
        self._painted = Path(tempfile.mkdtemp(prefix="painted"))
        for number, name in enumerate(self.names):
            (self._painted / name).mkdir()
            write_sample(self._painted / name, number, PROMPTS[number % len(PROMPTS)], 0.7, 1.0, 3)
        self._faces = {name: read_json(self._painted / name / "faces.json") or {} for name in self.names}

    def render(
        self, run: RunFolder, step: int, grid: object, go_on: Callable[[int], bool] = lambda done: True
    ) -> dict[int, VideoValues] | None:
        values = {}
        for place, name in enumerate(self.names):
            if not go_on(place):
                return None
            reward = 0.6 + 0.1 * math.tanh(step / 2000) + 0.01 * math.sin(step + place)
            self._copy(samples.sample_folder(run, step, name), name, reward)
            curve: list[float | None] = [reward - 0.002 * frame for frame in range(NUM_FRAMES)]
            measures: dict[str, float | None] = dict.fromkeys(MEASURES, 5.0 + 0.01 * place)
            measures |= {"reward": reward, "judge": reward + 0.05, "face_rate": 1.0}
            values[place] = VideoValues(measures, {"similarity_curve": curve, "judge_curve": curve})
        return values

    def write_references(self, run: RunFolder) -> None:
        for name in self.names:
            self._copy(samples.reference_folder(run, name), name, 0.9)

    def forget(self) -> None:
        shutil.rmtree(self._painted)

    def _copy(self, folder: Path, name: str, reward: float) -> None:
        for file in FILES:
            shutil.copyfile(self._painted / name / file, folder / file)
        samples.write_faces(folder, {**self._faces[name], "reward": reward, "judge": reward + 0.05})


class PacedStep:
    """In place of an update: waits until its turn and makes up what was measured."""

    def __init__(self, seconds: float, total: int) -> None:
        self.kl_weight: float | None = None
        self._pace = seconds / total
        self._started = time.monotonic()

    def update(self, taken: Any, step: int, rate: float) -> dict[str, float]:
        early = self._started + step * self._pace - time.monotonic()
        if early > 0:
            time.sleep(early)
        wave = math.sin(1.7 * step)
        reward = 0.6 + 0.1 * math.tanh(step / 2000) + 0.03 * wave
        return {"loss": 0.4 + 0.03 * wave, "reward": reward, "kl": 0.001, "grad_norm": 0.9 + wave / 9, "face_rate": 1.0}

    def rehearse(self, taken: Any, step: int) -> None:
        self._started = time.monotonic()

    def change(self, config: Any, fields: set[str]) -> None:
        """Nothing depends on the settings."""


class NoWeights:
    """In place of the trained weights: there are none, so that a checkpoint is random state and position alone."""

    adaptations: dict[str, Any] = {}
    ema = None
    engine = SimpleNamespace(change=lambda config: None, parameters=())

    def updated(self, step: int) -> None:
        """Nothing to average."""

    @contextmanager
    def rendering(self, base: bool) -> Iterator[None]:
        yield


class NoClips:
    """In place of the data."""

    def take(self, number: int) -> Any:
        return SimpleNamespace(number=number, rows=(), failed=())

    def carry_clean(self) -> None:
        """There is nothing to carry."""


def use_no_networks(seconds: float, made: list[PaintedVideos]) -> None:
    """From here on the trainer of this process loads stand-ins; `made` gets the videos, to be forgotten at the end."""

    class Loader(loading.Loader):
        def load(self) -> Any:
            config, weights = self._config, NoWeights()
            videos = PaintedVideos(config.evaluation.num_samples)
            made.append(videos)
            self._reporter.event("started", "The trainer started.", num_processes=1, device="none")
            self._reporter.cut_after(0)
            measured: Any = [weights.rendering, videos, self._run, self._ranks, self._reporter, config]
            return loading.Parts(
                model=None,  # type: ignore[arg-type]
                weights=weights,  # type: ignore[arg-type]
                step=PacedStep(seconds, config.train.max_steps),  # type: ignore[arg-type]
                clips=NoClips(),  # type: ignore[arg-type]
                source=NoClips(),  # type: ignore[arg-type]
                evaluation=evaluation.Evaluation(*measured),
                position=Position(),
            )

    trainer.Loader = Loader  # type: ignore[misc]
    Ranks.connect = lambda self, *arguments: None  # type: ignore[method-assign]


def main(arguments: Sequence[str]) -> int:
    from rewardfl_app.training.__main__ import main as train

    made: list[PaintedVideos] = []
    use_no_networks(float(arguments[0]), made)
    try:
        return train([arguments[1]])
    finally:
        for videos in made:
            videos.forget()


if __name__ == "__main__":
    end_process(main(sys.argv[1:]))
