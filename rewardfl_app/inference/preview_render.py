"""One request of the Playground: the base model's video and the tuned one's from the same noise, and their scores."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from rewardfl_app.config import family
from rewardfl_app.data import image, video
from rewardfl_app.data.dataset import to_pixels, to_tensor
from rewardfl_app.inference.pairs import Pair
from rewardfl_app.inference.preview_model import PreviewModel
from rewardfl_app.inference.side_by_side import write_side_by_side
from rewardfl_app.models.sampling import Grid
from rewardfl_app.rendering.clips import Batch, EncodedClip
from rewardfl_app.rendering.scoring import ClipReference, Scorer
from rewardfl_app.rendering.videos import evaluation_noise, render
from rewardfl_app.runs import checkpoints, content, previews, settings
from rewardfl_app.runs.checkpoints import Checkpoint
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.runs.previews import Preview, PreviewFolder
from rewardfl_app.runs.samples import Sample
from rewardfl_app.runs.video_values import MEASURES

if TYPE_CHECKING:
    from rewardfl_app.config.schema import Config
    from rewardfl_app.models.wan import Network, WanModel

logger = logging.getLogger(__name__)

NO_FACE = "No face was found in the picture: the video is rendered, but there is nobody to compare with."
NO_PACK = "The settings of this model name no face pack, so nothing is scored."
_BASE_NETWORKS: tuple[Network | Literal["tokenizer"], ...] = (
    "high_noise",
    "low_noise",
    "text_encoder",
    "vae",
    "tokenizer",
)

# tell(message, parts): what begins now, and how many parts more are done; may raise to end the work
Tell = Callable[[str, int], None]


class PreviewRenderer:
    """Renders requests one after another with the model and the scorer it keeps."""

    def __init__(self, folder: PreviewFolder, device: torch.device) -> None:
        self._folder = folder
        self._device = device
        self._model = PreviewModel(device)
        self._scorer: Scorer | None = None
        self._scorer_key = ""
        self.holds = ""
        """Name of the model that is in memory, for people."""

    def drop(self) -> None:
        """Let everything go."""
        self._model.drop()
        self._scorer, self._scorer_key, self.holds = None, "", ""

    def render(self, preview: Preview, begin: Callable[[int, str], None], tell: Tell) -> None:
        """Write the videos and at last result.json. `begin(parts, warning)` is told how much there is to do.

        Raises ConfigError, CheckpointError, WeightsError, PackError, DataError, OSError, and what `tell` raises.
        """
        started, request = time.monotonic(), preview.request
        run = RunFolder(request.run)
        config = settings.load(run, check_files=False)
        checkpoint = None if request.checkpoint is None else checkpoints.find(run, request.checkpoint)
        grid = Grid.of(config)
        picture = image.read(preview.picture)
        height, width = _size(config, picture.shape[0], picture.shape[1])
        first = to_tensor(image.cover(picture, height, width)[None])[:, 0]
        tell("Loading the model", 0)
        model = self._model.load(config)
        self.holds = str(request.about.get("model") or run.id)
        scorer = self._scorer_of(config)
        known = None if scorer is None else scorer.reference_of(scorer.observe(first[None]), is_clip=False)
        warning = NO_PACK if known is None else "" if known.reward.has_face else NO_FACE
        parts = grid.num_steps + 2  # the steps, the decoder, the scores
        begin(parts * (1 if checkpoint is None else 2), warning)
        tell("Reading picture and prompt", 0)
        job = _Job(preview, config, grid, scorer, known, self._encoded(preview, config, first, (height, width)))
        key = self._base_key(model, job)
        kept = self._rendered_before(key, preview)
        values: dict[str, Any] = {"base": None, "tuned": None}
        if kept is not None:
            tell("The base model’s video was rendered before", parts)
            shutil.copytree(kept, preview.folder / "base", dirs_exist_ok=True)
            values["base"] = _values(read_json(preview.faces("base")) or {})
        else:
            with self._model.as_base() as base:
                values["base"] = job.write("base", base, "Base model", tell)
        if checkpoint is not None:
            tell("Loading the checkpoint", 0)
            with self._model.as_tuned(config, checkpoint.path, request.strength) as tuned:
                values["tuned"] = job.write("tuned", tuned, f"After {_steps(checkpoint)}", tell)
            tell("Putting both beside each other", 0)
            _write_side_by_side(preview, checkpoint)
        about = {"step": None if checkpoint is None else checkpoint.step, "num_steps": grid.num_steps, "base_key": key}
        clip = {"fps": config.data.fps, "num_frames": config.data.num_frames, "width": width, "height": height}
        spent = {"seconds": round(time.monotonic() - started, 2), "base_kept": kept is not None}
        write_json_atomic(preview.folder / "result.json", {**values, **about, **clip, **spent, "warning": warning})

    def _encoded(self, preview: Preview, config: Config, first: Tensor, size: tuple[int, int]) -> EncodedClip:
        frames, request = config.data.num_frames, preview.request
        with torch.no_grad():
            text = self._model.text(request.prompt)
            condition = self._model.condition(content.file_digest(preview.picture), first, frames)
        self._model.make_room()
        return EncodedClip(1, "preview", request.prompt, text, condition, None, None, (frames, *size))

    def _scorer_of(self, config: Config) -> Scorer | None:
        if not config.reward.reward_model_path:
            return None
        key = config.reward.model_dump_json()
        if self._scorer is None or key != self._scorer_key:
            self._scorer = Scorer.load(config.reward, self._device)
            self._scorer_key = key
        return self._scorer

    def _base_key(self, model: WanModel, job: _Job) -> str:
        """What the base model's video and its scores depend on."""
        reward = job.config.reward
        return content.digest(
            {
                "networks": model.digest(*_BASE_NETWORKS),
                "picture": content.file_digest(job.preview.picture),
                "prompt": job.preview.request.prompt,
                "seed": job.preview.request.seed,
                "size": list(job.clip.size),
                "fps": job.config.data.fps,
                "grid": [list(job.grid.sigmas), list(job.grid.experts)],
                "scores": reward.model_dump(mode="json"),
            }
        )

    def _rendered_before(self, key: str, preview: Preview) -> Path | None:
        """The folder of the same base video in an earlier result, None when there is none."""
        for name in reversed(previews.names(self._folder)):
            earlier = self._folder.results / name
            if name != preview.id and (read_json(earlier / "result.json") or {}).get("base_key") == key:
                return earlier / "base"
        return None


@dataclass(frozen=True)
class _Job:
    """A request with everything both of its videos share."""

    preview: Preview
    config: Config
    grid: Grid
    scorer: Scorer | None
    known: ClipReference | None
    clip: EncodedClip

    def write(self, side: str, model: WanModel, name: str, tell: Tell) -> dict[str, float | None]:
        """Render and measure one side into its folder; returns what was measured."""
        noise = evaluation_noise(self.preview.request.seed, 0, self.clip.latent_shape)

        def before_step(step: int) -> None:
            last = step == self.grid.num_steps
            tell(f"{name}: decoding" if last else f"{name}: step {step + 1} of {self.grid.num_steps}", int(step > 0))

        frames = render(model, self.grid, Batch.of([self.clip]), torch.stack([noise]), before_step=before_step)[0]
        folder = self.preview.video(side).parent
        folder.mkdir(exist_ok=True)
        video.write(self.preview.video(side), to_pixels(frames), self.config.data.fps)
        if self.scorer is None or self.known is None:
            tell(f"{name}: written", 2)
            return {}
        tell(f"{name}: finding faces", 1)
        measured = self.scorer.measure_seen(self.scorer.observe(frames.transpose(0, 1)), self.known)
        height, width = frames.shape[-2:]
        report = measured.report(
            fps=self.config.data.fps,
            height=height,
            width=width,
            prompt=self.preview.request.prompt,
            seed=self.preview.request.seed,
            reference={"kind": "image", "source": None, "people": len(self.known.reward.people)},
        )
        write_json_atomic(self.preview.faces(side), report)
        tell(f"{name}: scored", 1)
        return _values(report)


def _values(report: dict[str, Any]) -> dict[str, float | None]:
    """The measures in the content of a faces.json."""
    return {name: report.get(name) for name in MEASURES}


def _size(config: Config, height: int, width: int) -> tuple[int, int]:
    """Height and width of the video: the configuration's, or the picture's within data.max_pixels."""
    data = config.data
    if data.height is not None and data.width is not None:
        return data.height, data.width
    return video.fit_size(height, width, data.max_pixels, family.of(config.model).size_multiple)


def _steps(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.step} step" + ("" if checkpoint.step == 1 else "s")


def _write_side_by_side(preview: Preview, checkpoint: Checkpoint) -> None:
    sides = [Sample(None, preview.id, preview.video(side).parent) for side in previews.SIDES]
    content_of = [read_json(sample.faces) or {"prompt": preview.request.prompt} for sample in sides]
    pair = Pair(preview.id, sides[0], sides[1], content_of[0], content_of[1])
    strength = preview.request.strength
    label = f"after {_steps(checkpoint)}" + ("" if strength == 1 else f", strength {strength:g}")
    write_side_by_side(preview.side_by_side, [pair], "base model", label)
