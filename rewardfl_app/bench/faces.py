"""Faces found, aligned and embedded in a clip, beside insightface's own loop over its frames with the same pack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rewardfl_app.bench import timing
from rewardfl_app.bench.report import Cell, Mark, Progress, Report
from rewardfl_app.bench.timing import Work
from rewardfl_app.bench.workload import changed
from rewardfl_app.config.schema import Config
from rewardfl_app.data import image, manifest, video
from rewardfl_app.data.image import Pixels
from rewardfl_app.pocket import paths
from rewardfl_app.pocket.clips import sample_clip
from rewardfl_app.rendering.face_gradients import FaceGradients
from rewardfl_app.rewards import insightface_analysis
from rewardfl_app.rewards.identity import IdentityReward
from rewardfl_app.rewards.observation import FrameFaces, Observer
from rewardfl_app.rewards.pack import load_pack
from rewardfl_app.rewards.reference import Reference

NUM_FRAMES, HEIGHT, WIDTH = 81, 352, 640
REPEATS = 5
_FASTER = 3.0
_COLUMNS = ("x insightface", "what", "engine s", "insightface s", "faces of both", "boxes off by px", "least cosine")
_PORTRAIT = 128  # pixels of a drawn person: a size at which the embedded detector knows faces
_CANVAS = 640  # insightface's own; at the embedded preset's a face of such a frame is a few pixels
_LATENT_CHUNK = 4  # where the configuration decodes a clip at once


def measure(config: Config, progress: Progress) -> Report:
    """Medians of a few clips that alternate in one process. Raises DataError, PackError, ConfigError."""
    progress("loading", 0, 1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    drawn = uses_embedded_pack(config)
    config = changed(config, reward={"roll_compatible": False} | ({"det_size": _CANVAS} if drawn else {}))
    settings, folder = config.reward, Path(config.reward.reward_model_path or "")
    pixels = clip(config, NUM_FRAMES)
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)
    identity = IdentityReward(load_pack(folder, device=device), settings)
    observer = Observer(identity.pack, settings)
    app = insightface_analysis.analysis(folder, settings.det_size, settings.det_threshold, settings.nms_threshold)
    theirs = _Insightface(app, pixels)
    with torch.no_grad():
        seen = observer.see(frames)
        parity = insightface_analysis.compare(app, pixels, seen)
    pairs, off = box_differences(seen, theirs.faces)
    generated, chunk = frames.float() / 127.5 - 1, 4 * (config.sampling.decode_chunk or _LATENT_CHUNK)
    reference = identity.reference(generated, generated[0])
    _, counted = pixel_gradient(identity, reference, generated, chunk)

    index = torch.arange(len(seen)).repeat_interleave(torch.tensor([len(faces) for faces in seen]))
    landmarks = torch.cat([faces.detections.landmarks for faces in seen])
    rows: dict[str, tuple[Work, Work | None, list[Cell]]] = {
        "scored: detect, align, embed": (
            lambda: observer.see(frames), theirs.analyse, [pairs, off, parity.lowest_cosine],
        ),
        "of it detect": (lambda: observer.detect(frames), theirs.detect, [pairs, off, None]),
        "of it align and embed": (
            lambda: observer.embed(frames, index, landmarks), theirs.embed, [pairs, None, parity.lowest_cosine],
        ),
        "trained on: the same, and the gradient at the pixels": (
            lambda: pixel_gradient(identity, reference, generated, chunk), None, [counted, None, None],
        ),
    }  # fmt: skip
    works: dict[str, Work] = {}
    for name, (own, other, _) in rows.items():
        works |= {name: own} | ({} if other is None else {f"{name} (insightface)": other})
    with torch.no_grad():
        times = timing.alternate(works, REPEATS, progress)
    report = Report("faces", _COLUMNS)
    for name, (_, other, found) in rows.items():
        mine = median(times[name])
        plain = None if other is None else median(times[f"{name} (insightface)"])
        report.rows.append([None if plain is None else plain / mine, name, mine, plain, *found])
    report.marks = [
        Mark("times faster per clip", float(report.rows[0][0] or 0), _FASTER, at_most=False),
        Mark("least cosine", parity.lowest_cosine or 0.0, insightface_analysis.COSINE_NEEDED, at_most=False),
        Mark("frames in which the two found different numbers of faces", len(parity.count_differences), 0),
    ]
    report.notes = [
        f"A clip of {NUM_FRAMES} frames of {WIDTH} x {HEIGHT}, {'a drawn person' if drawn else 'the data set'}, canvas "
        f"{settings.det_size}; medians of {REPEATS} clips that alternate in one process. insightface runs on "
        f"{parity.provider}, on all cores. The gradient goes through crop and recogniser of the faces that count, in "
        f"chunks of {chunk} frames, as a streamed decode gives them.",
        *parity.warnings,
    ]
    if parity.antialiased:
        report.notes.append(f"{parity.antialiased} large faces are averaged in ours alone and have no part in cosine.")
    report.parameters = {"seconds": times, "chunk": chunk, "lowest_iou": parity.lowest_iou}
    return report


def uses_embedded_pack(config: Config) -> bool:
    """Whether faces are found by the pack that ships with the package, which knows drawn people alone."""
    return Path(config.reward.reward_model_path or "").resolve() == paths.FACE_PACK.resolve()


def clip(config: Config, num_frames: int) -> Pixels:
    """Frames uint8 [num_frames, 352, 640, 3] RGB: a drawn person who moves about for the embedded pack, else the
    configuration's clips one after the other, again and again, each fitted in with black beside it.

    Raises DataError when a clip cannot be read.
    """
    frames = np.zeros((num_frames, HEIGHT, WIDTH, 3), np.uint8)
    if not uses_embedded_pack(config):
        for frame, picture in zip(frames, _pictures(Path(config.data.metadata_path or "")), strict=False):
            scale = min(HEIGHT / picture.shape[0], WIDTH / picture.shape[1])
            height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
            frame[:height, :width] = image.cover(picture, height, width)
        return frames
    frames += 127
    drawn = sample_clip(np.random.default_rng(0), num_frames=num_frames, size=_PORTRAIT).drawing.images
    for frame, picture, angle in zip(frames, drawn, np.linspace(0, 2 * np.pi, num_frames), strict=True):
        top = round((HEIGHT - _PORTRAIT) * (1 + np.sin(2 * angle)) / 2)
        left = round((WIDTH - _PORTRAIT) * (1 + np.sin(angle)) / 2)
        frame[top : top + _PORTRAIT, left : left + _PORTRAIT] = picture
    return frames


def _pictures(metadata_path: Path) -> Iterator[Pixels]:
    """The frames of all clips, without end."""
    rows = manifest.read(metadata_path)
    while True:
        for row in rows:
            for part in video.stream(row.video):
                yield from part


class _Insightface:
    """insightface's own loop over frames uint8 RGB [T, H, W, 3], which it takes one at a time, blue first."""

    def __init__(self, app: Any, pixels: Pixels) -> None:
        self._app = app
        self._frames = [np.ascontiguousarray(frame[:, :, ::-1]) for frame in pixels]
        self.faces = self.analyse()

    def analyse(self) -> list[Any]:
        """The faces of each frame."""
        return [self._app.get(frame) for frame in self._frames]

    def detect(self) -> list[Any]:
        """Boxes and landmarks of each frame."""
        return [self._app.det_model.detect(frame) for frame in self._frames]

    def embed(self) -> list[Any]:
        """The embeddings of all faces."""
        recogniser = self._app.models["recognition"]
        pairs = zip(self._frames, self.faces, strict=True)
        return [recogniser.get(frame, face) for frame, faces in pairs for face in faces]


def box_differences(seen: Sequence[FrameFaces], theirs: Sequence[Sequence[Any]]) -> tuple[int, float]:
    """How many faces both found in the same frames, and how far the sides of their boxes are apart at most, in pixels.

    `theirs`: insightface's faces of each frame.
    """
    pairs, off = 0, 0.0
    for ours, others in zip(seen, theirs, strict=True):
        if len(ours) and others:
            boxes = torch.from_numpy(np.stack([face.bbox for face in others])).float()
            apart = (ours.detections.boxes[:, None, :4] - boxes[None]).abs().amax(2)
            matched = apart[linear_sum_assignment(apart.numpy())]
            pairs, off = pairs + len(matched), max(off, float(matched.max()))
    return pairs, off


def pixel_gradient(identity: IdentityReward, reference: Reference, frames: Tensor, chunk: int) -> tuple[Tensor, int]:
    """d reward / d pixel [T, 3, H, W] of a clip [T, 3, H, W], RGB in [-1, 1], and how many faces it depends on.

    As a streamed decode has it (`RewardGradient`): the faces of all chunks of frames first, then, chunk by chunk, the
    graphs of those that count.
    """
    observer = Observer(identity.pack, identity.settings)
    parts = frames.split(chunk)
    seen = [faces for part in parts for faces in observer.foresee(part)]
    leaf = torch.cat([faces.embeddings for faces in seen]).requires_grad_(True)
    split = leaf.split([len(faces) for faces in seen])
    with torch.enable_grad():
        followed = [replace(faces, embeddings=part) for faces, part in zip(seen, split, strict=True)]
        result = identity.result_of(followed, reference, leaf[:0].sum())
        (gradient,) = torch.autograd.grad(result.reward, leaf)
    counted = FaceGradients.of(seen, gradient, result.faces)
    found = []
    for start, part in zip(range(0, len(frames), chunk), parts, strict=True):
        here = counted.within(range(start, start + len(part)))
        found.append(observer.pull_back(part, here.frames - start, here.landmarks, here.gradients))
    return torch.cat(found), len(counted)
