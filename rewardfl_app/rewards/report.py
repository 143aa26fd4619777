"""faces.json: every number about the faces of one clip, as the page, the notebooks and `score --json` read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewardfl_app.rewards.identity import RewardResult
from rewardfl_app.rewards.judge import JudgeResult
from rewardfl_app.rewards.reference import Face, Pose


def faces_report(
    result: RewardResult,
    judged: JudgeResult | None,
    *,
    video: str | Path,
    fps: float,
    width: int,
    height: int,
    prompt: str | None = None,
    seed: int | None = None,
    reference: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of faces.json; coordinates in pixels of the video, null where something was not measured.

    `reference` says what the faces were compared with: {"kind", "source", "people"}.
    """
    return {
        "video": str(video),
        "fps": fps,
        "num_frames": len(result.faces),
        "width": width,
        "height": height,
        "prompt": prompt,
        "seed": seed,
        "reward": _rounded(float(result.reward.detach()) if result.has_face else None, 6),
        "judge": _rounded(judged.judge if judged else None, 6),
        "motion": _rounded(judged.motion if judged else None, 4),
        "sharpness": _rounded(judged.sharpness if judged else None, 3),
        "face_rate": _rounded(result.face_rate, 6),
        "similarity_drift": _rounded(judged.similarity_drift if judged else None, 6),
        "judge_drift": _rounded(judged.judge_drift if judged else None, 6),
        "frame_motion": _rounded(judged.frame_motion if judged else None, 4),
        "first_frame_distance": _rounded(judged.first_frame_distance if judged else None, 4),
        "face_size": _rounded(judged.face_size if judged else None, 2),
        "yaw_spread": _rounded(judged.yaw_spread if judged else None, 3),
        "pitch_spread": _rounded(judged.pitch_spread if judged else None, 3),
        "reference": reference,
        "faceless_frames": result.faceless_frames,
        "tracks": [{**track, "mean_similarity": _rounded(track["mean_similarity"], 6)} for track in result.tracks],
        "frames": [
            {
                "frame": n,
                "faces": [
                    _face(face, judged.similarities[n][k] if judged else face["judge_similarity"])
                    for k, face in enumerate(faces)
                ],
            }
            for n, faces in enumerate(result.faces)
        ],
        "crops": None,
    }


def _face(face: Face, judge_similarity: float | None) -> dict[str, Any]:
    return {
        "track": face["track"],
        "identity": face["identity"],
        "bbox": [round(value, 2) for value in face["bbox"]],
        "landmarks": [[round(x, 2), round(y, 2)] for x, y in face["landmarks"]],
        "det_score": round(face["det_score"], 4),
        "similarity": _rounded(face["similarity"], 6),
        "judge_similarity": _rounded(judge_similarity, 6),
        "size": _rounded(face["size"], 2),
        "sharpness": _rounded(face["sharpness"], 3),
        "pose": _pose(face["pose"]),
        "age": face["age"],
        "sex": face["sex"],
        "crop": None,
    }


def _pose(pose: Pose | None) -> dict[str, float] | None:
    if pose is None:
        return None
    return {"yaw": round(pose["yaw"], 2), "pitch": round(pose["pitch"], 2), "roll": round(pose["roll"], 2)}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
