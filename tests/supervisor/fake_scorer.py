"""Stands where the scoring child is, in milliseconds: `python fake_scorer.py BEHAVIOUR --request FILE`.

`done` scores, `wait` scores once a file `go` lies in its folder, `refuse` says what is wrong, `crash` raises, `hang`
never ends.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from rewardfl_app.runs.jsonfile import write_json_atomic

FRAMES = 5


def main() -> int:
    behaviour, request = sys.argv[1], json.loads(Path(sys.argv[3]).read_text())
    out, status = Path(request["out"]), Path(request["status"])

    def say(state: str, done: int = 0, total: int | None = None, message: str = "") -> None:
        write_json_atomic(status, {"state": state, "done": done, "total": total, "message": message})

    say("starting", message="Loading the face pack")
    if behaviour == "refuse":
        say("failed", message=f"{request['video']} is no video: it holds text.")
        print("error: refused", file=sys.stderr)
        return 2
    if behaviour == "crash":
        raise RuntimeError("something broke")
    say("working", 2, FRAMES, "Finding faces")
    while behaviour == "hang" or (behaviour == "wait" and not (status.parent / "go").exists()):
        time.sleep(0.02)
    if "faces" in request["write"]:
        shutil.copy(request["video"], out / "video.mp4")
        frames = [{"frame": n, "faces": [face(n)]} for n in range(FRAMES)]
        content = {"video": "video.mp4", "fps": 8, "num_frames": FRAMES, "width": 32, "height": 32, "frames": frames}
        tracks = [{"track": 0, "identity": 0, "mean_similarity": 0.8, "frames": FRAMES}]
        write_json_atomic(out / "faces.json", {**content, "reward": 0.8, "tracks": tracks, "crops": None})
    if "heat" in request["write"]:
        shutil.copy(request["video"], out / "heat.mp4")
        write_json_atomic(out / "heat.json", {"scale": 0.1, "frames": [0.01] * FRAMES})
    say("done", FRAMES, FRAMES)
    return 0


def face(frame: int) -> dict[str, object]:
    landmarks = [[12, 14], [20, 14], [16, 18], [13, 22], [19, 22]]
    place = {"track": 0, "identity": 0, "bbox": [8, 8, 24, 26], "landmarks": landmarks, "det_score": 0.9}
    return {**place, "similarity": 0.9 - 0.05 * frame, "judge_similarity": None, "crop": None}


if __name__ == "__main__":
    sys.exit(main())
