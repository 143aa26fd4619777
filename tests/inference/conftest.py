"""Clips of the embedded people, and the scoring process called as a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rewardfl_app.data import video
from rewardfl_app.inference.__main__ import main
from rewardfl_app.pocket import paths
from rewardfl_app.pocket.clips import sample_clip
from rewardfl_app.runs.jsonfile import read_json

Frames = NDArray[np.uint8]
POCKET = {"reward_model_path": str(paths.FACE_PACK), "det_size": 96}


@pytest.fixture(scope="session")
def portrait() -> Frames:
    """A drawn person, uint8 [17, 64, 64, 3]."""
    return sample_clip(np.random.default_rng((7, 0))).drawing.images


@pytest.fixture(scope="session")
def stranger() -> Frames:
    """Another one."""
    return sample_clip(np.random.default_rng((7, 3))).drawing.images


@pytest.fixture
def clip(tmp_path: Path, portrait: Frames) -> Path:
    video.write(tmp_path / "clip.mp4", portrait, 8)
    return tmp_path / "clip.mp4"


class Scored:
    """What the process left: its exit code, its folder, and the one line it said."""

    def __init__(self, code: int, out: Path, errors: list[str]) -> None:
        self.code, self.out, self.errors = code, out, errors

    @property
    def faces(self) -> dict[str, Any]:
        return read_json(self.out / "faces.json") or {}

    @property
    def status(self) -> dict[str, Any]:
        return read_json(self.out / "status.json") or {}


Score = Callable[..., Scored]


@pytest.fixture
def run_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Score:
    """Scores a video with the embedded pack, in this process; what is given by name changes the request."""

    def run(path: Path, write: list[str] | None = None, **changed: Any) -> Scored:
        out = tmp_path / "out"
        content = {"video": path, "reference": None, "reward": POCKET, "out": out, "write": write or ["faces"]}
        request = tmp_path / "request.json"
        request.write_text(json.dumps({**content, **changed}, default=str))
        capsys.readouterr()
        code = main(["score", "--request", str(request)])
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        return Scored(code, out, errors)

    return run
