"""The clips of a metadata.csv with their faces: whether training can use each row, before it is tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rewardfl_app.config.problems import ConfigError, Problem
from rewardfl_app.config.schema import RewardConfig
from rewardfl_app.data.findings import Findings, RowReport
from rewardfl_app.data.image import Pixels
from rewardfl_app.data.inspection import inspect
from rewardfl_app.data.manifest import RowProblem
from rewardfl_app.inference.clip_source import to_frames
from rewardfl_app.inference.scoring_request import Status, reward_settings
from rewardfl_app.rendering.scoring import Scorer
from rewardfl_app.rewards.observation import FrameFaces
from rewardfl_app.runs.jsonfile import write_json_atomic

NUM_SAMPLES = 9  # frames of each clip in which faces are looked for


@dataclass(frozen=True)
class DataCheckRequest:
    """A metadata.csv to check with a face pack; data_check.json and status.json are written into `out`.

    `findings` is a file of what was found before with this pack, None to look at every row; it is added to.
    """

    metadata: Path
    reward: RewardConfig
    out: Path
    findings: Path | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> DataCheckRequest:
        """The request in a JSON object {metadata, reward, out, findings}. Raises ConfigError."""
        wanted = ("metadata", "reward", "out")
        problems = [Problem(name, f"The request does not name {name}.") for name in wanted if not content.get(name)]
        problems += [Problem(n, f"There is no {n} in a data check.") for n in content if n not in (*wanted, "findings")]
        if problems:
            raise ConfigError(problems)
        findings = Path(content["findings"]) if content.get("findings") else None
        return cls(Path(content["metadata"]), reward_settings(content["reward"]), Path(content["out"]), findings)


def data_check(request: DataCheckRequest) -> dict[str, Any]:
    """Checks every row and returns the content of data_check.json: {metadata, faces, rows, problems}.

    Raises DataError when the CSV as a whole is at fault, and PackError.
    """
    status = Status(request.out / "status.json")
    status.start()
    try:
        scorer = Scorer.load(request.reward, "cuda" if torch.cuda.is_available() else "cpu")

        def advance(done: int, total: int) -> None:
            if done == 1:
                status.start(total, "Checking rows")
            status.advance(1, "Checking rows")

        findings = Findings(request.findings) if request.findings else None
        report = inspect(request.metadata, _Look(scorer), NUM_SAMPLES, advance, findings).content()
    except Exception as error:
        status.failed(" ".join(str(error).split()) or type(error).__name__)
        raise
    write_json_atomic(request.out / "data_check.json", report)
    status.done("")
    return report


class _Look:
    """Finds the faces of a row and says when the first frame shows none, which training cannot use."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, told: RowReport, first: Pixels | None, frames: Pixels) -> list[RowProblem]:
        seen = self._observed(frames)
        start = seen[0] if first is None else self._observed(first[None])[0]
        known = self._scorer.reference_of(seen, is_clip=True)
        told.people = len(known.reward.people)
        told.num_looked = len(seen)
        told.face_rate = round(sum(len(faces) > 0 for faces in seen) / len(seen), 4)
        picture = frames[0] if first is None else first
        told.boxes = _shares(start.detections.boxes, *picture.shape[:2])
        if not len(start):
            if first is not None:
                return [RowProblem(told.row, "No face was found in the input image.", "input_image")]
            more = "" if told.face_rate else f", nor in any of {len(seen)} frames"
            return [RowProblem(told.row, f"No face was found in the first frame of {told.video}{more}.", "video")]
        largest = int(start.detections.areas.argmax())
        told.face_size = round(float(start.detections.areas[largest]) ** 0.5, 1)
        told.det_score = round(float(start.detections.boxes[largest, 4]), 4)
        return []

    def _observed(self, frames: Pixels) -> list[FrameFaces]:
        return [faces for pixels in frames for faces in self._scorer.observe(to_frames(pixels[None]))]


def _shares(boxes: torch.Tensor, height: int, width: int) -> list[list[float]]:
    """Boxes [n, 5] in pixels (with their score) -> [x0, y0, x1, y1] as shares of width and height, cut at the edges."""
    size = boxes.new_tensor([width, height, width, height])
    return [[round(float(value), 4) for value in box] for box in (boxes[:, :4] / size).clamp(0.0, 1.0)]
