"""insightface's own analysis of a pack, and how far ours agrees with it on the same frames."""

from __future__ import annotations

import contextlib
import glob
import io
import logging
import tempfile
import time
import warnings
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rewardfl_app.rewards import alignment, tracks
from rewardfl_app.rewards.detector import Faces
from rewardfl_app.rewards.execution_providers import best_providers, fallback_warning, shadow_warning
from rewardfl_app.rewards.pack import PackError, onnx_files

logger = logging.getLogger(__name__)

Frames = NDArray[np.uint8]
IOU_NEEDED, COSINE_NEEDED = 0.98, 0.9999
_ANTIALIASED_FROM = 2.0  # frame pixels per crop pixel from which our crop averages and insightface's skips


class SeenFaces(Protocol):
    """What we found in one frame: faces, and their normalised embeddings [M, D]."""

    @property
    def detections(self) -> Faces: ...

    @property
    def embeddings(self) -> Tensor: ...


@dataclass(frozen=True)
class ParityReport:
    """How ours and insightface's faces compare; reports of consecutive chunks add up.

    `faces` are insightface's. `count_differences` are the frames (from 0) where the two found different numbers. The
    lowest IoU and cosine are over the pairs, None without any. Faces that span more than twice the crop's pixels are
    averaged in ours and not in insightface's, on purpose: `antialiased` counts them, and their cosine stands apart.
    `insightface_seconds` is what its loop over the frames took, on `provider`.
    """

    frames: int = 0
    faces: int = 0
    count_differences: tuple[int, ...] = ()
    lowest_iou: float | None = None
    lowest_cosine: float | None = None
    antialiased: int = 0
    lowest_antialiased_cosine: float | None = None
    insightface_seconds: float = 0.0
    provider: str = ""
    warnings: tuple[str, ...] = field(default=())

    @property
    def agrees(self) -> bool:
        """Same count in every frame, every box IoU >= 0.98 and every embedding cosine >= 0.9999."""
        return (
            not self.count_differences
            and (self.lowest_iou is None or self.lowest_iou >= IOU_NEEDED)
            and (self.lowest_cosine is None or self.lowest_cosine >= COSINE_NEEDED)
        )

    def __add__(self, later: ParityReport) -> ParityReport:
        return ParityReport(
            self.frames + later.frames,
            self.faces + later.faces,
            self.count_differences + tuple(self.frames + frame for frame in later.count_differences),
            _least(self.lowest_iou, later.lowest_iou),
            _least(self.lowest_cosine, later.lowest_cosine),
            self.antialiased + later.antialiased,
            _least(self.lowest_antialiased_cosine, later.lowest_antialiased_cosine),
            self.insightface_seconds + later.insightface_seconds,
            later.provider or self.provider,
            self.warnings + tuple(line for line in later.warnings if line not in self.warnings),
        )


class InsightfaceCheck:
    """Compares chunk by chunk with insightface run on the same pack, canvas and thresholds."""

    def __init__(
        self, folder: str | Path, det_size: int | tuple[int, int] = 640, threshold: float = 0.5, nms: float = 0.4
    ) -> None:
        """`PackError` where insightface cannot load the folder."""
        self._app = analysis(folder, det_size, threshold, nms)
        self._report = ParityReport(provider=provider_of(self._app), warnings=provider_warnings(self._app))

    def add(self, frames: Frames, seen: Sequence[SeenFaces]) -> None:
        """The next frames, uint8 RGB [n, H, W, 3], and what we found in each."""
        self._report += compare(self._app, frames, seen)

    def result(self) -> ParityReport:
        """Over all frames so far."""
        return replace(self._report)


def analysis(
    folder: str | Path, det_size: int | tuple[int, int] = 640, threshold: float = 0.5, nms: float = 0.4
) -> Any:
    """A `FaceAnalysis` (detection and recognition) of a folder of ONNX files, prepared, on the best provider present.

    Nothing is written into the folder, nothing is downloaded or printed. `PackError` where insightface cannot load it.
    """
    from insightface.app import FaceAnalysis

    files = onnx_files(Path(folder))
    path = Path(folder).resolve()
    alias: tempfile.TemporaryDirectory[str] | None = None
    if glob.escape(str(path)) != str(path):  # insightface would read the brackets as a pattern
        alias = tempfile.TemporaryDirectory(prefix="face_pack_")
        for file in path.iterdir():
            (Path(alias.name) / file.name).symlink_to(file)
        path = Path(alias.name)
    wanted = best_providers()
    try:
        with _silent():
            app = FaceAnalysis(name=str(path), providers=wanted, allowed_modules=["detection", "recognition"])
            size = (det_size, det_size) if isinstance(det_size, int) else (int(det_size[0]), int(det_size[1]))
            app.prepare(0, det_thresh=threshold, det_size=size)  # a negative context would mean the CPU
    except Exception as error:  # onnxruntime's and insightface's own, which share no class
        reason = " ".join(str(error).split()) or "no detector among the files"
        names = ", ".join(file.name for file in files)
        raise PackError(f"{folder}: insightface cannot load this pack ({names}): {reason}") from error
    if "recognition" not in app.models:
        raise PackError(f"{folder}: insightface finds no recogniser among {', '.join(file.name for file in files)}")
    app.det_model.nms_thresh = nms
    if alias is not None:
        weakref.finalize(app, alias.cleanup)
    for line in provider_warnings(app):
        logger.warning("%s", line)
    return app


def provider_of(app: Any) -> str:
    """The ONNX Runtime provider that the detector of a `FaceAnalysis` runs on."""
    return str(app.det_model.session.get_providers()[0])


def provider_warnings(app: Any) -> tuple[str, ...]:
    """Why a `FaceAnalysis` does not run on the GPU of this machine: a sentence each, none when all is well."""
    lines = [shadow_warning()]
    lines += [fallback_warning(best_providers(), model.session.get_providers()) for model in app.models.values()]
    return tuple(dict.fromkeys(line for line in lines if line is not None))


def compare(app: Any, frames: Frames, seen: Sequence[SeenFaces]) -> ParityReport:
    """Runs a `FaceAnalysis` over frames uint8 RGB [n, H, W, 3] and compares with what we found in each."""
    report = ParityReport(provider=provider_of(app))
    size = int(app.models["recognition"].input_size[0])
    for frame, ours in zip(frames, seen, strict=True):
        blue_first = np.ascontiguousarray(frame[:, :, ::-1])
        started = time.perf_counter()
        with _silent():
            theirs = app.get(blue_first)
        seconds = time.perf_counter() - started
        report += replace(_compared(theirs, ours, size), insightface_seconds=seconds)
    return report


def _compared(theirs: Sequence[Any], ours: SeenFaces, size: int) -> ParityReport:
    same = len(theirs) == len(ours.detections)
    report = ParityReport(frames=1, faces=len(theirs), count_differences=() if same else (0,))
    if not theirs or not len(ours.detections):
        return report
    boxes = torch.from_numpy(np.stack([face.bbox for face in theirs])).float()
    overlaps = tracks.iou(ours.detections.boxes[:, :4].float(), boxes)
    mine, other = linear_sum_assignment(-overlaps.numpy())
    embeddings = torch.from_numpy(np.stack([face.normed_embedding for face in theirs]))[other].float()
    cosines = torch.cosine_similarity(ours.embeddings.detach().float().cpu()[mine], embeddings)
    landmarks = torch.from_numpy(np.stack([face.kps for face in theirs]))[other]
    shrink = alignment.shrink_factors(alignment.similarity_transforms(landmarks, size))
    large = shrink >= _ANTIALIASED_FROM
    return replace(
        report,
        lowest_iou=float(overlaps[mine, other].min()),
        lowest_cosine=float(cosines[~large].min()) if bool((~large).any()) else None,
        antialiased=int(large.sum()),
        lowest_antialiased_cosine=float(cosines[large].min()) if bool(large.any()) else None,
    )


def _least(first: float | None, second: float | None) -> float | None:
    known = [value for value in (first, second) if value is not None]
    return min(known) if known else None


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """insightface prints, and its libraries warn of their own future, once per face."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
