"""Nothing in the path is special to the embedded data: one's own clips, with one's own face pack, train like them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from rewardfl_app.data import video
from rewardfl_app.runs import metrics
from rewardfl_app.runs.registry import list_runs
from rewardfl_app.runs.samples import list_samples

ROOT = Path(__file__).resolve().parents[1]
# The pocket model draws portraits of 64 pixels and cannot draw a real person; of a large head, its first frame at least
# is a face to the pack.
HEAD = (slice(150, 390), slice(90, 330))


def test_ten_steps_on_real_people_write_samples_and_the_reward_of_each_face(real_faces: Path, tmp_path: Path) -> None:
    frames = video.read(real_faces / "video1.mp4", 5)
    video.write(tmp_path / "head.mp4", video.resize(frames[:, HEAD[0], HEAD[1]], 256, 256), 8)
    (tmp_path / "metadata.csv").write_text("\ufeffvideo,prompt\nhead.mp4,a woman smiles\n", encoding="utf-8")
    settings = {
        "data.metadata_path": tmp_path / "metadata.csv",
        "data.num_frames": 5,
        "data.height": 256,
        "data.width": 256,
        "data.max_pixels": 256 * 256,
        "reward.reward_model_path": real_faces / "models" / "antelope_mini",
        "reward.det_size": 256,
        "reward.kl_steps": "gradient",
        "train.max_steps": 10,
        "train.train_batch_size": 1,
        "deepspeed.num_processes": 1,
        "evaluation.eval_steps": 10,
    }
    command = [
        sys.executable,
        "-m",
        "rewardfl_app",
        "train",
        "--preset",
        "pocket",
        "--runs-dir",
        str(tmp_path / "runs"),
    ]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    (run,) = list_runs(tmp_path / "runs")
    records = metrics.read_all(run.metrics)
    assert [record["step"] for record in records if "loss" in record] == list(range(1, 11))
    (sample,) = list_samples(run)[10]
    assert video.probe(sample.video).num_frames == 5
    faces = [face for frame in json.loads(sample.faces.read_text())["frames"] for face in frame["faces"]]
    assert faces and all(-1 <= face["similarity"] <= 1 for face in faces)
