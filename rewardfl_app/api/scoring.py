"""Scoring the faces of one video."""

from __future__ import annotations

import html
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardfl_app.api.table import Table
from rewardfl_app.runs.jsonfile import read_json, write_json_atomic
from rewardfl_app.supervisor import inference_child, score_settings


@dataclass(frozen=True)
class Score:
    """What was seen in a video: `report` is the content that `score --json` writes.

    `overlay`, `heat_map`: films that were asked for.
    """

    report: dict[str, Any]
    overlay: Path | None = None
    heat_map: Path | None = None

    @property
    def reward(self) -> float | None:
        """The mean similarity of the followed faces, in [-1, 1]; None where there is none."""
        return self.report.get("reward")

    @property
    def judge(self) -> float | None:
        """The same by the second recogniser; None without one."""
        return self.report.get("judge")

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Each frame with its faces: track, bbox, landmarks, det_score, similarity."""
        return list(self.report["frames"])

    @property
    def faces(self) -> Table:
        """Every face of every frame: who it is taken for, and what was measured on it (lengths in pixels)."""
        return Table(_row(frame, face) for frame in self.frames for face in frame["faces"])

    @property
    def tracks(self) -> Table:
        """Each face that was followed: the person of the reference it is taken for (None: somebody else), its mean
        similarity, the number of its frames, and whether it is there for its place alone."""
        return Table(
            {
                "track": track["track"],
                "person": track.get("identity"),
                "similarity": track.get("mean_similarity"),
                "frames": track.get("frames"),
                "unlike": track.get("unlike"),
            }
            for track in self.report["tracks"]
        )

    @property
    def people(self) -> int:
        """How many people of the reference the video is scored for."""
        return int(self.report["reference"]["people"])

    def curve(self, person: int = 0) -> tuple[list[int], list[float]]:
        """Frames and similarities of one person of the reference, 0 being the one that fills most of it."""
        found = [
            (int(frame["frame"]), float(face["similarity"]))
            for frame in self.frames
            for face in frame["faces"]
            if face.get("identity") == person and face.get("similarity") is not None
        ]
        return [frame for frame, _ in found], [value for _, value in found]

    def __repr__(self) -> str:
        faceless = len(self.report.get("faceless_frames", []))
        return f"Score(reward={self.reward}, judge={self.judge}, {len(self.tracks)} tracks, {faceless} frames without)"

    def _repr_html_(self) -> str:
        judge = "" if self.judge is None else f", judge {self.judge:.3f}"
        reward = "no face to score" if self.reward is None else f"reward {self.reward:.3f}{judge}"
        return f"<div><b>{html.escape(reward)}</b>{self.tracks._repr_html_()}</div>"


def score(
    video: str | Path,
    face_pack: str | Path = "pocket",
    *,
    judge: str | Path | None = None,
    reference: str | Path | None = None,
    overlay: str | Path | None = None,
    heat_map: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Score:
    """How much the faces of a video stay the reference's person.

    Args:
        face_pack: folder of a face pack, or the embedded one. judge: ONNX file of a second recogniser.
        reference: image or video of who should be seen (None: the video's own first frame).
        overlay, heat_map: films to write, with the faces marked, and with the pixels that the reward looks at.
        settings: changes of the `reward` section by field, for example {"det_size": 640}.

    Raises InferenceError saying what is wrong, ConfigError.
    """
    assignments = [f"reward.{field}={value}" for field, value in (settings or {}).items()]
    reward = score_settings.reward(str(face_pack), None if judge is None else str(judge), assignments)
    films = {"overlay": overlay, "heat_over_video": heat_map}
    wanted = {name: Path(path).expanduser().absolute() for name, path in films.items() if path is not None}
    with tempfile.TemporaryDirectory(prefix="rewardfl-") as folder:
        out = Path(folder)
        request = {
            "video": _absolute(video),
            "reference": None if reference is None else _absolute(reference),
            "reward": reward.model_dump(mode="json"),
            "out": out,
            "write": ["faces", *wanted],
            "check_insightface": False,
        }
        write_json_atomic(out / "request.json", request)
        inference_child.run("score", "--request", str(out / "request.json"))
        for name, target in wanted.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(out / f"{name}.mp4", target)
        return Score(read_json(out / "faces.json") or {}, wanted.get("overlay"), wanted.get("heat_over_video"))


def _row(frame: Mapping[str, Any], face: Mapping[str, Any]) -> dict[str, Any]:
    pose = face.get("pose") or {}
    return {
        "frame": frame["frame"],
        "track": face.get("track"),
        "person": face.get("identity"),
        "similarity": face.get("similarity"),
        "judge": face.get("judge_similarity"),
        "det_score": face.get("det_score"),
        "size": face.get("size"),
        "sharpness": face.get("sharpness"),
        "yaw": pose.get("yaw"),
        "pitch": pose.get("pitch"),
        "roll": pose.get("roll"),
    }


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()
