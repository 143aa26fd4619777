"""Stands where the preview worker is, in milliseconds: `python fake_previewer.py BEHAVIOUR FOLDER`.

`done` makes the videos, `wait` makes one once a file `go` lies in its folder, `stuck` never ends and hears nothing,
`crash` raises at the first request, `refuse` dies before it has looked at one, `faceless` finds no face.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from rewardfl_app.data import video
from rewardfl_app.runs import previews
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.previews import Preview, PreviewFolder

FRAMES, FPS, STEPS = 17, 8, 4


def main() -> int:
    behaviour, folder = sys.argv[1], PreviewFolder(Path(sys.argv[2]))
    if behaviour == "refuse":
        raise ImportError("no such library")
    if behaviour == "stuck":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while behaviour == "stuck" or not folder.leave.exists():
        preview = next(
            (p for n in previews.names(folder) if (p := previews.look(folder.results / n)) and _waits(p)), None
        )
        say(folder, "ready" if preview is None else "working")
        if preview is None:
            time.sleep(0.02)
            continue
        preview.say("working", "Base model: step 2 of 4", 1, 2 * (STEPS + 2))
        if behaviour == "crash":
            raise RuntimeError("something broke")
        while behaviour == "stuck" or (behaviour == "wait" and not (preview.folder / "go").exists()):
            if behaviour == "wait" and preview.is_cancelled:
                break
            if behaviour == "wait" and folder.leave.exists():
                preview.say("waiting")
                say(folder, "ended")
                return 0
            time.sleep(0.02)
        if preview.is_cancelled:
            preview.say("cancelled")
            continue
        make(preview, "No face was found in the picture." if behaviour == "faceless" else "")
    say(folder, "ended")
    return 0


def _waits(preview: Preview) -> bool:
    if preview.state == "waiting" and preview.is_cancelled:
        preview.say("cancelled")
    return preview.state == "waiting" and not preview.is_cancelled


def say(folder: PreviewFolder, state: str) -> None:
    write_json_atomic(folder.worker, {"state": state, "model": "stand-in", "time": time.time()})


def make(preview: Preview, warning: str) -> None:
    """Both videos: the picture, moved a little."""
    picture = Image.open(preview.picture).convert("RGB").resize((64, 64))
    sides = ("base",) if preview.request.checkpoint is None else ("base", "tuned")
    values = {}
    for number, side in enumerate(sides):
        preview.video(side).parent.mkdir()
        moved = [np.roll(np.asarray(picture), round((3 - number) * math.sin(n / 3)), axis=1) for n in range(FRAMES)]
        video.write(preview.video(side), np.stack(moved), FPS)
        reward = None if warning else 0.6 + 0.1 * number
        frames = [{"frame": n, "faces": [] if warning else [face(n, 0.9 - 0.02 * n)]} for n in range(FRAMES)]
        content = {"video": "video.mp4", "fps": FPS, "num_frames": FRAMES, "width": 64, "height": 64, "frames": frames}
        write_json_atomic(preview.faces(side), {**content, "reward": reward, "tracks": [], "crops": None})
        values[side] = {"reward": reward, "judge": reward, "motion": 3.0, "sharpness": 50.0, "face_rate": 1.0}
    if len(sides) == 2:
        video.write(preview.side_by_side, np.zeros((FRAMES, 64, 128, 3), np.uint8), FPS)
    step = None if preview.request.checkpoint is None else int(preview.request.checkpoint)
    about = {"step": step, "num_steps": STEPS, "fps": FPS, "num_frames": FRAMES, "width": 64, "height": 64}
    both = {"base": values["base"], "tuned": values.get("tuned")}
    write_json_atomic(preview.folder / "result.json", {**both, **about, "seconds": 0.5, "warning": warning})
    preview.say("done", "", 12, 12, warning)


def face(frame: int, similarity: float) -> dict[str, object]:
    landmarks = [[26, 28], [38, 28], [32, 34], [28, 42], [36, 42]]
    place = {"track": 0, "identity": 0, "bbox": [20, 16, 44, 50], "landmarks": landmarks, "det_score": 0.9}
    return {**place, "similarity": similarity, "judge_similarity": similarity, "crop": None, "pid": os.getpid()}


if __name__ == "__main__":
    sys.exit(main())
