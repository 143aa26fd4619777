"""Score one video: the faces of every frame, how much they are the reference's, and pictures of it.

The video streams through twice at most: once to find and embed the faces, once to draw. What stays in memory is a few
kilobytes per face, so a clip of ten minutes takes no more than one of ten seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rewardfl_app.data.errors import DamagedVideo, DataError
from rewardfl_app.data.image import Pixels
from rewardfl_app.data.writer import VideoWriter
from rewardfl_app.inference import heat_map
from rewardfl_app.inference.clip_source import ClipSource, to_frames
from rewardfl_app.inference.heat_map import HeatMap
from rewardfl_app.inference.overlay import Overlay
from rewardfl_app.inference.scoring_request import ScoringRequest, Status
from rewardfl_app.inference.turned_video import TurnedVideo
from rewardfl_app.models import freed_memory
from rewardfl_app.rendering.crops import CropSheet
from rewardfl_app.rendering.scoring import ClipReference, Measurement, Scorer
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.video_values import MEASURES

if TYPE_CHECKING:
    from rewardfl_app.rewards.insightface_analysis import InsightfaceCheck
    from rewardfl_app.rewards.observation import FrameFaces

logger = logging.getLogger(__name__)

OWN_FIRST_FRAME = "own first frame"
SMALLEST_FACE = 16  # pixels at det_size: the smallest anchor of SCRFD
_GIVE_BACK_EVERY = 256  # frames; at every chunk it would cost a tenth of the time
_HEAT = frozenset({"heat", "heat_over_video"})


def score(request: ScoringRequest) -> dict[str, Any]:
    """Does what is asked and returns the content of faces.json; status.json follows along.

    Raises DataError, PackError, and OSError where the folder cannot be written.
    """
    request.out.mkdir(parents=True, exist_ok=True)
    status = Status(request.status)
    status.start()
    try:
        # Files are looked at before the networks are loaded: a wrong path is told at once.
        video = ClipSource.open(request.video)
        reference = None if request.reference is None else ClipSource.open(request.reference)
        scorer = Scorer.load(request.reward, "cuda" if torch.cuda.is_available() else "cpu")
        report = _Scoring(request, scorer, video, reference, status).run()
    except Exception as error:
        status.failed(" ".join(str(error).split()) or type(error).__name__)
        raise
    status.done(" ".join(report["notes"]))
    return report


class _Scoring:
    """One request on its way: passes over the reference, over the video, and over the video again."""

    def __init__(
        self,
        request: ScoringRequest,
        scorer: Scorer,
        video: ClipSource,
        reference: ClipSource | None,
        status: Status,
    ) -> None:
        self._request = request
        self._scorer = scorer
        self._video = video
        self._reference = reference
        self._status = status
        self._notes: list[str] = []
        self._turned = TurnedVideo()

    def run(self) -> dict[str, Any]:
        """All passes. Returns the content of faces.json, which is written last."""
        write, num_frames = self._request.write, self._video.info.num_frames
        drawing = bool(write & {"crops", "overlay", *_HEAT})
        heated = len(write & _HEAT) * min(num_frames, heat_map.MOST_FRAMES)
        asked = 0 if self._reference is None else self._reference.info.num_frames
        self._status.start(asked + num_frames * (2 if drawing else 1) + heated, "Finding faces")

        known = None if self._reference is None else self._known(self._reference)
        seen, parity = self._observe(self._video, self._request.out, "Finding faces", self._insightface())
        if known is None:
            known = self._scorer.reference_of(seen, is_clip=False)
        measured = self._scorer.measure_seen(seen, known)
        report = self._report(self._video, measured, known, self._request.out)
        self._notes += self._remarks(report)
        if drawing:
            self._draw(report, measured, known)
        if parity is not None:
            report["insightface"] = parity
        report["notes"] = self._notes
        if "faces" in write:
            write_json_atomic(self._request.out / "faces.json", report)
        return report

    def _known(self, source: ClipSource) -> ClipReference:
        """The people of the reference; its own scored folder where the video's is asked for too. Raises DataError."""
        folder = self._request.out / "reference"
        seen, _ = self._observe(source, folder, "Looking at the reference")
        known = self._scorer.reference_of(seen, is_clip=not source.is_still)
        if not known.reward.has_face:
            where = "" if source.is_still else f"any of the {len(seen)} frames of "
            raise DataError(f"No face was found in {where}the reference {source.path}: choose another.")
        if "video" in self._request.write:
            measured = self._scorer.measure_seen(seen, known)
            report = self._report(source, measured, known, folder)
            if "crops" in self._request.write:
                sheet = CropSheet(report)
                for offset, pixels in _counted(source.chunks(lambda damage: None)):
                    sheet.cut(to_frames(pixels), offset)
                sheet.save(folder)
            write_json_atomic(folder / "faces.json", report)
        return known

    def _observe(
        self, source: ClipSource, folder: Path, message: str, check: InsightfaceCheck | None = None
    ) -> tuple[list[FrameFaces], dict[str, Any] | None]:
        """The faces of every frame, and what insightface says of them; the browser's copy is written on the way."""
        seen: list[FrameFaces] = []
        seconds = 0.0
        with ExitStack() as stack:
            copy = None
            if "video" in self._request.write:
                folder.mkdir(parents=True, exist_ok=True)
                copy = stack.enter_context(_writer(folder / "video.mp4", source))
            for _, pixels in _counted(source.chunks(self._damaged)):
                if copy is not None:
                    copy.add(pixels)
                if check is not None and not seen:  # networks are loaded at their first use; insightface's are by now
                    self._scorer.observe(to_frames(pixels[:1]))
                started = time.perf_counter()
                found = self._scorer.observe(to_frames(pixels))
                seconds += time.perf_counter() - started
                if check is not None:
                    check.add(pixels, found)
                seen += found
                if source is self._video:
                    self._turned.keep(pixels, found)
                self._status.advance(len(pixels), message)
        return seen, None if check is None else _parity(check, seconds)

    def _draw(self, report: dict[str, Any], measured: Measurement, known: ClipReference) -> None:
        """The second pass: crops, heat map and overlay."""
        write, folder, info = self._request.write, self._request.out, self._video.info
        sheet = CropSheet(report) if "crops" in write else None
        heat = HeatMap(info.height, info.width) if write & _HEAT else None
        overlay = Overlay(report) if "overlay" in write else None
        with ExitStack() as stack:
            film = None
            if overlay is not None:
                writer = VideoWriter(folder / "overlay.mp4", *overlay.size, info.fps, crf=16, preset="veryfast")
                film = stack.enter_context(writer)
            for offset, pixels in _counted(self._video.chunks(lambda damage: None)):
                if sheet is not None:
                    sheet.cut(to_frames(pixels), offset)
                if heat is not None and heat.num_frames < heat_map.MOST_FRAMES:
                    part = to_frames(pixels[: heat_map.MOST_FRAMES - heat.num_frames])
                    heat.add(self._scorer.pixel_gradient(part, offset, measured, known).float().cpu().numpy())
                if overlay is not None and film is not None:
                    for number, picture in enumerate(pixels, start=offset):
                        film.add(overlay.draw(picture, number)[None])
                self._status.advance(len(pixels), "Drawing")
        if sheet is not None:
            sheet.save(folder)
        if heat is not None:
            self._write_heat(heat)

    def _write_heat(self, heat: HeatMap) -> None:
        def advance(count: int) -> None:
            self._status.advance(count, "Writing the heat map")

        folder, fps = self._request.out, self._video.info.fps
        if "heat" in self._request.write:
            heat.write(folder, fps, advance)
        if "heat_over_video" in self._request.write:
            frames = self._video.chunks(lambda damage: None)
            heat.write_over(folder / "heat_over_video.mp4", fps, frames, advance)

    def _report(self, source: ClipSource, measured: Measurement, known: ClipReference, folder: Path) -> dict[str, Any]:
        kind, path = OWN_FIRST_FRAME, None
        if self._reference is not None:
            kind, path = "image" if self._reference.is_still else "video", str(self._reference.path)
        report = measured.report(
            video="video.mp4" if "video" in self._request.write else str(source.path),
            fps=source.info.fps,
            height=source.info.height,
            width=source.info.width,
            reference={"kind": kind, "source": path, "people": len(known.reward.people)},
        )
        report.setdefault("crops", None)
        return report

    def _remarks(self, report: dict[str, Any]) -> Iterator[str]:
        """What a person should know about these numbers, a sentence each."""
        num_frames, people = report["num_frames"], report["reference"]["people"]
        faceless = len(report["faceless_frames"])
        if faceless == num_frames:
            where = "the only frame" if num_frames == 1 else f"any of the {num_frames} frames"
            size = max(report["height"], report["width"]) / self._request.reward.det_size * SMALLEST_FACE
            yield f"No face was found in {where}; at this det_size one must be upright and about {size:.0f} px large."
        elif not people:
            yield "No face was found in the first frame, so there is nobody to compare with: give a reference."
        elif unseen := sorted(set(range(people)) - {track["identity"] for track in report["tracks"]}):
            missing = " and ".join(str(who + 1) for who in unseen)
            yield f"The reward is the mean over the {people} people of the reference; person {missing} is not seen."
        if faceless > num_frames / 2 and (degrees := self._turned.degrees(self._scorer)):
            yield f"Faces are found when the video is turned by {degrees} degrees: turn it first."
        if num_frames == 1 and not faceless:
            alone = ", compared with itself: give a reference" if self._reference is None else ""
            yield f"The video has one frame{alone}; nothing can be said about change."
        if set(self._scorer.measures) != set(MEASURES):
            yield "Only face_similarity was scored: rewards of one's own need the whole clip at once."
        if self._video.info.varies:
            yield f"The frame rate varies: times are those of the average, {report['fps']:.4g} fps."
        if self._request.write & _HEAT and num_frames > heat_map.MOST_FRAMES:
            yield f"The heat map shows the first {heat_map.MOST_FRAMES} of {num_frames} frames."

    def _damaged(self, damage: DamagedVideo) -> None:
        frames = f"the {damage.num_frames} frames" if damage.num_frames > 1 else "the frame"
        self._notes.append(f"Only {frames} before the damage of {damage.path} were scored: {damage.reason}.")
        logger.warning("%s", self._notes[-1])

    def _insightface(self) -> InsightfaceCheck | None:
        if not self._request.check_insightface:
            return None
        from rewardfl_app.rewards.insightface_analysis import InsightfaceCheck

        reward = self._request.reward
        if reward.roll_compatible:
            raise DataError("With roll_compatible the faces are not insightface's: turn it off for this check.")
        folder = str(reward.reward_model_path)
        return InsightfaceCheck(folder, reward.det_size, reward.det_threshold, reward.nms_threshold)


def _writer(path: Path, source: ClipSource) -> VideoWriter:
    info = source.info
    return VideoWriter(path, info.height, info.width, info.fps, crf=16, preset="veryfast")


def _counted(chunks: Iterator[Pixels]) -> Iterator[tuple[int, Pixels]]:
    """Each chunk with the number of its first frame; now and then, freed memory is given back."""
    offset = given_back = 0
    for pixels in chunks:
        yield offset, pixels
        offset += len(pixels)
        if offset - given_back >= _GIVE_BACK_EVERY:
            freed_memory.give_back()
            given_back = offset


def _parity(check: InsightfaceCheck, own_seconds: float) -> dict[str, Any]:
    result = check.result()
    return {
        "agrees": result.agrees,
        "frames": result.frames,
        "faces": result.faces,
        "count_differences": list(result.count_differences),
        "lowest_iou": result.lowest_iou,
        "lowest_cosine": result.lowest_cosine,
        "antialiased": result.antialiased,
        "lowest_antialiased_cosine": result.lowest_antialiased_cosine,
        "seconds": result.insightface_seconds,
        "own_seconds": own_seconds,
        "provider": result.provider,
        "warnings": list(result.warnings),
    }
