"""A run folder that looks like a real one: real files in the documented formats, written step by step by the test."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rewardfl_app.config import files, presets
from rewardfl_app.data import video
from rewardfl_app.runs.checkpoints import begin, commit
from rewardfl_app.runs.events import log_event
from rewardfl_app.runs.folder import RunFolder
from rewardfl_app.runs.jsonfile import write_json_atomic
from rewardfl_app.runs.metrics import MetricsWriter
from rewardfl_app.runs.samples import reference_folder, sample_folder, write_faces
from rewardfl_app.runs.status import Status, write_status
from rewardfl_app.supervisor import process

NUM_FRAMES = 17
FPS = 8
SIZE = 64
CROP = 112
PROMPTS = ("a person with blue hair smiles", "a person with a red beard turns", "a person talks")


class FakeRun:
    """Writes what a trainer writes; this test process plays the living trainer until `finish`."""

    def __init__(self, runs_dir: Path, name: str = "first try", total: int = 60, prompts: tuple[str, ...] = ()) -> None:
        self.folder = RunFolder.create(runs_dir, name)
        self.total = total
        self.prompts = prompts or PROMPTS
        files.dump(presets.preset("pocket"), self.folder.config)
        record = process.describe(os.getpid(), ["test"], role="wrapper", started=time.time() - 1)
        write_json_atomic(self.folder.process, record)
        self.metrics = MetricsWriter(self.folder.metrics)
        self.status("loading", 0, "loading the weights")

    def status(self, state: str, step: int, message: str = "") -> None:
        left = None if step == 0 else (self.total - step) * 0.7
        write_status(self.folder, Status(state, state, step, self.total, message, seconds_left=left))  # type: ignore[arg-type]

    def baseline(self) -> None:
        """The real clips and the untrained model's samples with their evaluation record."""
        for index, prompt in enumerate(self.prompts):
            write_sample(reference_folder(self.folder, f"row_{index:03d}"), index, prompt, 0.93, 1.0, 7)
            write_sample(sample_folder(self.folder, 0, f"row_{index:03d}"), index, prompt, 0.7 - 0.02 * index, 1.0, 4)
        log_event(self.folder, "evaluation", "Evaluated the untrained model: reward 0.680, judge 0.740.")
        self._evaluation(0, 0.68, 0.74, 6.2)

    def step(self, step: int, reward: float | None = None) -> None:
        """One training step."""
        wave = math.sin(step * 1.7)
        self.metrics.append(
            {
                "step": step,
                "time": time.time(),
                "loss": 0.4 - 0.004 * step + 0.03 * wave,
                "reward": 0.66 + 0.16 * (1 - math.exp(-step / 25)) + 0.03 * wave if reward is None else reward,
                "kl": 0.002 * step * (1 + 0.1 * wave),
                "grad_norm": 0.8 + 0.2 * wave,
                "learning_rate": 5e-4 * min(1.0, step / 5),
                "step_seconds": 0.7 + 0.03 * wave,
                "peak_memory_gb": 1.41,
                "face_rate": 1.0,
            }
        )
        self.status("training", step, f"step {step} of {self.total}")

    def evaluate(self, step: int, judge_gain: float = 0.08, motion: float = 0.96) -> None:
        """Samples and evaluation record after `step`."""
        share = 1 - math.exp(-step / 25)
        for index, prompt in enumerate(self.prompts):
            reward = 0.7 - 0.02 * index + 0.15 * share
            write_sample(sample_folder(self.folder, step, f"row_{index:03d}"), index, prompt, reward, motion, 3)
        self._evaluation(step, 0.68 + 0.15 * share, 0.74 + judge_gain * share, 6.2 * motion)
        log_event(self.folder, "evaluation", f"Evaluated step {step}.")

    def checkpoint(self, step: int) -> None:
        """A small complete checkpoint."""
        path = begin(self.folder, step)
        (path / "adapter.safetensors").write_bytes(b"0" * 16)
        commit(self.folder, step, path)
        log_event(self.folder, "checkpoint", f"Saved the checkpoint of step {step}.")

    def finish(self, cause: str = "completed", sentence: str = "", next_step: str = "", return_code: int = 0) -> None:
        """exit.json, as the wrapper writes it."""
        account = {"cause": cause, "sentence": sentence, "next_step": next_step}
        write_json_atomic(self.folder.exit, {"return_code": return_code, "signal": None, **account})

    def _evaluation(self, step: int, reward: float, judge: float, motion: float) -> None:
        values = {"reward": reward, "judge": judge, "motion": motion, "face_rate": 1.0, "sharpness": 0.4}
        base = {"reward": 0.68, "judge": 0.74, "motion": 6.2, "face_rate": 1.0, "sharpness": 0.41}
        record: dict[str, float] = {"step": step, "time": time.time()}
        for name, value in values.items():
            record[f"eval/{name}"] = value
            record[f"eval/{name}_baseline"] = base[name]
        self.metrics.append(record)


def write_sample(folder: Path, index: int, prompt: str, reward: float, motion: float, blur: int) -> None:
    """A sample with a painted face in every frame: video, crops and faces.json, which has `reward` as its mean."""
    boxes = [_box(frame, motion) for frame in range(NUM_FRAMES)]
    pixels = np.stack([_portrait(index, box, blur) for box in boxes])
    video.write(folder / "video.mp4", pixels, FPS)
    crops = [Image.fromarray(_cut(picture, box)) for picture, box in zip(pixels, boxes, strict=True)]
    sheet = Image.new("RGB", (CROP * 16, CROP * 2))
    for place, crop in enumerate(crops):
        sheet.paste(crop.resize((CROP, CROP)), (place % 16 * CROP, place // 16 * CROP))
    sheet.save(folder / "crops.jpg")
    frames = []
    for frame, box in enumerate(boxes):
        similarity = None if frame == 0 else round(reward + 0.05 * math.sin(frame * 0.9 + index) - 0.004 * frame, 4)
        face = {
            "track": 0,
            "identity": 0,
            "bbox": box,
            "landmarks": _landmarks(box),
            "det_score": 0.93,
            "similarity": similarity,
            "judge_similarity": None if similarity is None else similarity + 0.04,
            "size": 26.8,
            "sharpness": 120.5,
            "pose": {"yaw": 3.0, "pitch": -1.0, "roll": 0.5},
            "age": None,
            "sex": None,
            "crop": frame,
        }
        frames.append({"frame": frame, "faces": [face]})
    content = {
        "video": "video.mp4",
        "fps": FPS,
        "num_frames": NUM_FRAMES,
        "width": SIZE,
        "height": SIZE,
        "prompt": prompt,
        "seed": 1234 + index,
        "reward": reward,
        "judge": reward + 0.05,
        "motion": 6.2 * motion,
        "sharpness": 0.4,
        "face_rate": 1.0,
        "faceless_frames": [],
        "tracks": [{"track": 0, "identity": 0, "mean_similarity": reward, "frames": NUM_FRAMES}],
        "frames": frames,
        "crops": {"file": "crops.jpg", "size": CROP, "columns": 16},
    }
    write_faces(folder, content)


def _box(frame: int, motion: float) -> list[float]:
    x = 20 + 5 * motion * math.sin(frame / 16 * 2 * math.pi)
    y = 17 + 2 * motion * math.cos(frame / 16 * 2 * math.pi)
    return [x, y, x + 24, y + 30]


def _landmarks(box: list[float]) -> list[list[float]]:
    x0, y0, x1, y1 = box
    places = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.58), (0.35, 0.76), (0.65, 0.76))
    return [[x0 + u * (x1 - x0), y0 + v * (y1 - y0)] for u, v in places]


def _cut(picture: NDArray[np.uint8], box: list[float]) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = (round(value) for value in box)
    return picture[y0:y1, x0:x1]


def _portrait(index: int, box: list[float], blur: int) -> NDArray[np.uint8]:
    """A simple face in a box: [64, 64, 3]; `blur` shifts the colours so that the sides can be told apart."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    x0, y0, x1, y1 = box
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    picture = np.zeros((SIZE, SIZE, 3), np.float32)
    picture[:] = np.array([[150, 190, 200], [205, 180, 190], [190, 200, 160]][index % 3]) - 6 * blur
    body = ((columns - cx) / 22) ** 2 + ((rows - 66) / 20) ** 2 < 1
    picture[body] = [[90, 80, 180], [60, 140, 90], [180, 90, 60]][index % 3]
    hair = ((columns - cx) / 16) ** 2 + ((rows - cy + 5) / 18) ** 2 < 1
    picture[hair] = [[60, 90, 220], [200, 60, 40], [50, 40, 40]][index % 3]
    face = ((columns - cx) / 12) ** 2 + ((rows - cy) / 15) ** 2 < 1
    picture[face] = [[235, 190, 160], [140, 95, 70], [215, 165, 130]][index % 3]
    for x, y in _landmarks(box)[:2]:
        picture[((columns - x) ** 2 + (rows - y) ** 2) < 6] = 250
        picture[((columns - x) ** 2 + (rows - y) ** 2) < 2] = 30
    mouth = (abs(columns - cx) < 5) & (abs(rows - (y0 + 0.78 * (y1 - y0))) < 1.2)
    picture[mouth] = [150, 40, 50]
    return np.clip(picture, 0, 255).astype(np.uint8)
